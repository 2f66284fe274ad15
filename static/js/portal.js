// Japan GPU Alliance portal: small behaviours on top of server-rendered pages (our own work).
// Runs under script-src 'self': no inline handlers, no eval, no globals. Pages work without it; what cannot is .needs-js.
// Everything listens on document, so parts that htmx swaps in need no wiring. Words come from #portal-texts.
(() => {
  const $ = (s, r = document) => r.querySelector(s);
  const $$ = (s, r = document) => [...r.querySelectorAll(s)];
  const on = (type, listener, options) => document.addEventListener(type, listener, options);
  const texts = $('#portal-texts')?.dataset ?? {};
  const composing = (e) => e.isComposing || e.keyCode === 229;
  const fold = (text) => text.normalize('NFKC').toLowerCase();

  function say(text) {
    const live = $('#live'); if (!live) return;
    live.textContent = ''; requestAnimationFrame(() => { live.textContent = text; });
  }
  function toast(text) {
    const box = $('#toast'); if (!box || !text || box.textContent.includes(text)) return;
    const note = document.createElement('div'); note.textContent = text; note.setAttribute('role', 'status');
    box.append(note); setTimeout(() => note.remove(), 6000);
  }

  // 1. Japanese input. While an IME conversion is open, no listener (htmx included) sees `input`;
  //    one synthetic `input` follows when the text is committed. Enter that commits never submits.
  on('input', (e) => { if (e.isComposing) e.stopImmediatePropagation(); }, true);
  on('compositionend', (e) => { setTimeout(() => e.target.dispatchEvent(new InputEvent('input', { bubbles: true })), 0); }, true);
  on('keydown', (e) => { if (e.key === 'Enter' && e.keyCode === 229) e.preventDefault(); }, true);

  // 2. htmx 4: busy state, no polling in hidden tabs, focus and announcements after a swap, words for failures
  on('htmx:before:request', (e) => {
    const ctx = e.detail?.ctx; if (!ctx) return;
    if (document.hidden && ctx.sourceEvent?.type === 'every') { e.preventDefault(); return; }
    // What is being sent as a job is no draft any more.
    if ($(ctx.sourceElement.dataset.autosave || ':not(*)')?.hasAttribute('data-sent')) { e.preventDefault(); return; }
    if (ctx.target instanceof Element && !ctx.sourceElement.hasAttribute('data-quiet')) ctx.target.setAttribute('aria-busy', 'true');
  });
  // The version that an element shows goes with its request (the ptag extension registers itself too late where scripts come slowly).
  on('htmx:config:request', (e) => {
    const { sourceElement, request } = e.detail.ctx, version = sourceElement.getAttribute('hx-ptag');
    if (version) request.headers['HX-PTag'] = version;
  });
  on('htmx:finally:request', (e) => { const target = e.detail?.ctx?.target; if (target instanceof Element) target.removeAttribute('aria-busy'); });
  // Answers bring markup, never behaviour: the policy would let a script of our own host run.
  on('htmx:before:swap', (e) => { for (const task of e.detail.tasks ?? []) $$('script', task.fragment).forEach((s) => s.remove()); });
  // after:swap fires on the source element, after:settle on the swapped target
  on('htmx:after:settle', (e) => {
    const root = e.target instanceof Element ? e.target : document;
    const focus = root.matches?.('[data-focus]') ? root : $('[data-focus]', root);
    if (focus) { focus.setAttribute('tabindex', '-1'); focus.focus(); }
    const spoken = root.matches?.('[data-say]') ? root : $('[data-say]', root);
    if (spoken && spoken.dataset.say !== spoken._said) { spoken._said = spoken.dataset.say; say(spoken.dataset.say); }
  });
  on('htmx:response:error', (e) => {
    const { status } = e.detail.ctx.response, poll = e.detail.ctx.sourceEvent?.type === 'every';
    if (status === 422 || status === 409 || poll) return;
    toast(status === 429 ? texts.tooMany : status >= 500 ? texts.failed : texts.denied);
  });
  on('htmx:error', (e) => { if (e.detail?.ctx?.sourceEvent?.type !== 'every') toast(texts.offline); });
  // A form sent back by the server as a whole page: start at its error summary.
  $('#error-summary')?.focus();

  // 3. Clicks
  on('click', (e) => {
    for (const menu of $$('details.menu[open]')) if (!menu.contains(e.target)) menu.open = false;
    if (e.target instanceof HTMLDialogElement && e.target.hasAttribute('data-light')) { e.target.close(); return; }
    const b = e.target.closest?.('[data-copy],[data-copy-text],[data-theme-toggle],[data-open],[data-close],[data-log],[data-expand],[data-print]');
    if (!b || b.getAttribute('aria-disabled') === 'true') return;
    if (b.dataset.copy || b.dataset.copyText) copy(b.dataset.copyText ?? $(b.dataset.copy)?.innerText ?? '');
    else if (b.hasAttribute('data-theme-toggle')) { e.preventDefault(); toggleTheme(); }
    else if (b.dataset.open) { const d = $(b.dataset.open); if (d?.showModal) { e.preventDefault(); if (d.id === 'palette') openPalette(); else d.showModal(); } }
    else if (b.hasAttribute('data-close')) { const d = b.closest('dialog'); if (d) { e.preventDefault(); d.close(); } }
    else if (b.hasAttribute('data-print')) window.print();
    else if (b.dataset.expand) {
      const open = b.getAttribute('aria-expanded') !== 'true'; b.setAttribute('aria-expanded', open);
      $$(`[data-parent="${CSS.escape(b.dataset.expand)}"]`).forEach((row) => { row.hidden = !open; });
    } else if (b.dataset.log) logAction(b);
  });
  // On paper nothing can be unfolded.
  addEventListener('beforeprint', () => { for (const b of $$('[data-expand][aria-expanded="false"]')) b.click(); });
  async function copy(text) {
    try { await navigator.clipboard.writeText(text.trim()); toast(texts.copied); } catch { toast(texts.copyFailed); }
  }
  function toggleTheme() {
    const root = document.documentElement, auto = root.dataset.theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = root.dataset.theme === 'dark' || auto ? 'light' : 'dark';
    document.cookie = `theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax${location.protocol === 'https:' ? ';secure' : ''}`;
  }
  on('keydown', (e) => {
    const menu = e.key === 'Escape' && !composing(e) && e.target.closest?.('details.menu[open]');
    if (menu) { menu.open = false; $('summary', menu).focus(); }
  });

  // 4. Log pane: follow while at the end, pause on scroll up, search, wrap
  const followButton = () => $('[data-log="follow"]');
  const following = () => followButton()?.getAttribute('aria-pressed') === 'true';
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  function follow(yes) {
    followButton()?.setAttribute('aria-pressed', yes);
    const log = $('#log'); if (yes && log) log.scrollTop = log.scrollHeight;
  }
  function logAction(b) {
    if (b.dataset.log === 'follow') follow(!following());
    if (b.dataset.log === 'wrap') { const wrap = b.getAttribute('aria-pressed') !== 'true'; b.setAttribute('aria-pressed', wrap); $('#log')?.classList.toggle('nowrap', !wrap); }
  }
  function search(announce) {
    const q = $('#log-q'), log = $('#log'); if (!q || !log) return;
    const wanted = fold(q.value.trim()), lines = $$('li', log), number = (n) => n.toLocaleString('en');
    let found = 0;
    for (const mark of $$('mark', log)) { const parent = mark.parentNode; mark.replaceWith(...mark.childNodes); parent.normalize(); }
    for (const line of lines) {
      const message = $('.msg', line) ?? line;
      line.hidden = wanted !== '' && !fold(message.textContent).includes(wanted);
      if (!line.hidden) { found++; if (wanted) markIn(message, wanted); }
    }
    const words = !wanted ? '' : found ? (texts.found ?? '').replace('{n}', number(found)) : (texts.notFound ?? '').replace('{n}', number(lines.length));
    const count = $('#log-found'), none = $('#log-no-hit');
    if (count) count.textContent = found ? words : '';
    if (none) { none.textContent = words; none.hidden = !wanted || found > 0 || !lines.length; }
    if (announce) say(words);
  }
  // Pieces are the texts between colours. Folding may lengthen a letter (㍻ is 平成): `from` says where each folded
  // letter came from. From the end, so that the places before stay what they are.
  function markIn(message, wanted) {
    const walker = document.createTreeWalker(message, NodeFilter.SHOW_TEXT), from = []; let folded = '';
    while (walker.nextNode()) {
      const piece = walker.currentNode; let start = 0;
      for (const letter of piece.data) {
        const f = fold(letter), end = start + letter.length;
        for (let i = 0; i < f.length; i++) from.push({ piece, start, end });
        folded += f; start = end;
      }
    }
    const hits = [];
    for (let i = folded.indexOf(wanted); i >= 0; i = folded.indexOf(wanted, i + wanted.length)) hits.push(from.slice(i, i + wanted.length));
    for (const hit of hits.reverse()) {
      for (const piece of new Set(hit.map((letter) => letter.piece).reverse())) {
        const letters = hit.filter((letter) => letter.piece === piece), { start } = letters[0];
        const found = piece.splitText(start); found.splitText(letters.at(-1).end - start);
        const mark = document.createElement('mark'); found.replaceWith(mark); mark.append(found);
      }
    }
  }
  on('scroll', (e) => { if (e.target.id === 'log' && following() && !atEnd(e.target)) follow(false); }, { capture: true, passive: true });
  on('input', (e) => { if (e.target.id === 'log-q') search(true); });
  if ($('#log')) {
    if (!location.hash) follow(followButton()?.getAttribute('aria-pressed') !== 'false');
    // New lines: keep the end in view if it was, and hide those that the search leaves out.
    on('htmx:after:settle', () => { if ($('#log-q')?.value) search(false); if (following()) follow(true); });
  }

  // Offers to compare: the server disables the others once the most are chosen; a tick that was faster is taken back.
  on('change', (e) => {
    const list = e.target.name === 'cmp' && e.target.closest('[data-most]');
    if (!list || $$('[name="cmp"]:checked', list).length <= list.dataset.most) return;
    e.target.checked = false; e.stopImmediatePropagation(); say(list.dataset.full);
  }, true);
  // A choice that is the whole form; without script its button is shown (<noscript>).
  on('change', (e) => { if (e.target.form?.hasAttribute('data-auto')) e.target.form.requestSubmit(); });

  // A control outside of its form (form="filter") reaches it all the same: events bubble to parents only.
  on('change', (e) => { const { form } = e.target; if (form && !form.contains(e.target)) form.dispatchEvent(new Event('change', { bubbles: true })); });

  // 5. Leaving with unsaved input
  const changed = new Set();
  on('input', (e) => { const form = e.target.closest?.('form[data-leave]'); if (form) changed.add(form); });
  on('submit', (e) => { changed.delete(e.target); e.target.toggleAttribute('data-sent', true); });
  window.addEventListener('pageshow', (e) => { if (e.persisted) $$('form[data-sent]').forEach((form) => form.removeAttribute('data-sent')); });
  window.addEventListener('beforeunload', (e) => { if ([...changed].some((form) => form.isConnected)) e.preventDefault(); });

  // 6. Command palette (Ctrl/⌘+K) and shortcuts; single keys can be switched off (WCAG 2.1.4)
  const palette = $('#palette');
  let current = 0;
  const all = () => $$('[role="option"]', palette);
  const shown = () => all().filter((option) => !option.hidden);
  const go = (option) => { if (option?.dataset.href) location.href = option.dataset.href; };
  function mark() {
    const options = shown(), box = $('input', palette);
    all().forEach((option) => option.setAttribute('aria-selected', 'false'));
    const chosen = options[current];
    if (chosen) { chosen.setAttribute('aria-selected', 'true'); box.setAttribute('aria-activedescendant', chosen.id); chosen.scrollIntoView({ block: 'nearest' }); } else box.removeAttribute('aria-activedescendant');
    $('.none', palette).hidden = options.length > 0;
  }
  function filter() {
    const wanted = fold($('input', palette).value.trim()); current = 0;
    all().forEach((option) => {
      if (!option.dataset.search) { option.hidden = !fold(`${option.textContent} ${option.dataset.kana ?? ''}`).includes(wanted); return; }
      // What was typed may be the name of a job: the list of jobs looks for it.
      const typed = $('input', palette).value.trim();
      option.hidden = !typed; option.dataset.href = option.dataset.search + encodeURIComponent(typed.slice(0, 50)); $('b', option).textContent = typed;
    });
    mark();
  }
  function openPalette() { if (!palette || palette.open) return; $('input', palette).value = ''; palette.showModal(); filter(); }
  if (palette) {
    palette.addEventListener('input', filter);
    palette.addEventListener('keydown', (e) => {
      if (composing(e)) return;
      const n = shown().length;
      if ((e.key === 'ArrowDown' || e.key === 'ArrowUp') && n) { e.preventDefault(); current = (current + (e.key === 'ArrowDown' ? 1 : n - 1)) % n; mark(); }
      if (e.key === 'Enter') { e.preventDefault(); go(shown()[current]); }
    });
    palette.addEventListener('click', (e) => { go(e.target.closest('[role="option"]')); if (e.target === palette) palette.close(); });
  }
  on('keydown', (e) => {
    if (composing(e)) return;
    if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k' && palette) { e.preventDefault(); openPalette(); return; }
    if (document.body.dataset.keys === 'off' || e.ctrlKey || e.metaKey || e.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '') || document.activeElement?.isContentEditable) return;
    if (e.key === '/') { const field = $('[data-slash]'); if (field) { e.preventDefault(); field.focus(); } }
  });
})();
