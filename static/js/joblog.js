// The log pane of a job, beyond what portal.js does: links to lines that are not on the page, and a bounded page.
(() => {
  const KEPT = 5000; // lines; older ones are behind the link above the log
  const lines = document.querySelector('#log-lines'); if (!lines) return;

  // #L123 of a shared link may be older than the lines shown: ask the server for those around it, once.
  const wanted = /^#L(\d{1,9})$/.exec(location.hash);
  if (wanted && !document.querySelector(location.hash) && !new URLSearchParams(location.search).has('line')) {
    location.replace(`?line=${wanted[1]}${location.hash}`);
    return;
  }
  document.addEventListener('htmx:after:settle', () => {
    while (lines.children.length > KEPT) lines.firstElementChild.remove();
    // Nothing comes any more: portal.js has just gone to the end for the last time.
    if (!document.querySelector('#log-foot[hx-get]')) document.querySelector('[data-log="follow"]')?.remove();
  });
})();
