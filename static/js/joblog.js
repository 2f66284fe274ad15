// The log pane of a job, beyond what portal.js does: links to lines that are not in view, and a bounded page.
(() => {
  const KEPT = 5000; // lines; older ones are behind the link above the log
  const lines = document.querySelector('#log-lines'); if (!lines) return;

  // #L123 of a shared link may be older than the lines shown: ask the server for those around it. One that the search
  // hides is shown among its neighbours.
  function showLinked() {
    const wanted = /^#L(\d{1,9})$/.exec(location.hash); if (!wanted) return;
    const line = document.querySelector(location.hash), asked = new URLSearchParams(location.search).get('line');
    if (!line && asked !== wanted[1]) location.replace(`?line=${wanted[1]}${location.hash}`);
    if (!line?.hidden) return;
    const search = document.querySelector('#log-q'); search.value = '';
    search.dispatchEvent(new Event('input', { bubbles: true }));
    line.scrollIntoView({ block: 'center' });
  }
  showLinked();
  window.addEventListener('hashchange', showLinked);

  document.addEventListener('htmx:after:settle', () => {
    while (lines.children.length > KEPT) lines.firstElementChild.remove();
  });
  // Nothing comes any more. Not sooner: the foot settles before the last lines, which portal.js follows to their end.
  document.addEventListener('htmx:finally:request', () => {
    if (!document.querySelector('#log-foot[hx-get]')) document.querySelector('[data-log="follow"]')?.remove();
  });
})();
