// Files and folders from the browser straight to the object store, in parts whose SHA-256 is part of the signed address (our
// own work). The store's list of parts is the truth: pause, reload and another browser all begin by asking for it. Words and
// addresses come from data attributes of the page. A part that fails is signed anew and sent again, with growing pauses.
(() => {
  const root = document.querySelector('[data-upload]');
  if (!root) return;
  const $ = (s, r = root) => r.querySelector(s);
  // The words stand on an element around the form: a field called "dataset" hides the form's own `dataset`.
  const t = root.dataset, form = $('form'), inputs = [$('[data-files]'), $('[data-folder]')], problem = $('[data-error]');
  const LANES = matchMedia('(pointer: coarse)').matches ? 2 : 4; // parts under way at once, of one large file or of several small ones
  const MIB = 2 ** 20, PART = 8 * MIB, WHOLE = 64 * MIB, BUFFERS = 4 * MIB, TRIES = 7, STALL_MS = 60000, SILENT_MS = 8000;
  const ROWS = 20; // more files than that show only what is under way or failed, and a line for all
  const all = new Set(), checking = new Map(), T = { samples: [], quarter: 0 };
  let queue = [], used = 0, paused = false, watching = false, refreshing = 0, resuming = null;

  class Lost extends Error { constructor(text, after) { super(text); this.after = after; } } // no answer, or not a good one: try again
  class Refused extends Error { constructor(text, body) { super(text); this.body = body; } }
  class Halted extends Error {} // paused or cancelled

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? '');
  const wait = (ms) => new Promise((go) => setTimeout(go, ms));
  const online = () => new Promise((go) => addEventListener('online', go, { once: true }));
  const some = (...states) => [...all].filter((u) => states.includes(u.state));
  function say(text) { const live = document.getElementById('live'); if (live) { live.textContent = ''; requestAnimationFrame(() => { live.textContent = text; }); } }
  function complain(text) { problem.textContent = text; problem.hidden = !text; }
  function size(n) {
    const units = ['B', 'KB', 'MB', 'GB', 'TB']; let i = 0;
    while (n >= (i ? 999.95 : 1000) && i < 4) { n /= 1000; i++; }
    return `${i ? n.toFixed(1) : n} ${units[i]}`;
  }
  function time(s) {
    s = Math.max(1, Math.round(s)); const m = Math.floor(s / 60), h = Math.floor(m / 60);
    return h ? fill(t.tHours, { h, m: m % 60 }) : m ? fill(t.tMinutes, { m, s: s % 60 }) : fill(t.tSeconds, { s });
  }

  // --- SHA-256 in a worker
  let worker, asked = 0; const waiting = new Map();
  function hash(blob) {
    if (!worker) {
      worker = new Worker(t.worker);
      worker.onmessage = ({ data: { id, digest, why } }) => {
        const [resolve, reject] = waiting.get(id); waiting.delete(id);
        if (digest) resolve(digest); else reject(unreadable(why));
      };
      worker.onerror = () => { for (const [, reject] of waiting.values()) reject(new Refused(t.tPortal)); waiting.clear(); };
    }
    return new Promise((...both) => { waiting.set(++asked, both); worker.postMessage({ id: asked, blob }); });
  }
  // A file that changed since it was chosen can no longer be read; what was sent of it is of no use. One that is not there may be again.
  const unreadable = (why) => (why === 'NotReadableError' ? new Refused(t.tChanged, { changed: true }) : new Refused(t.tUnreadable));
  const raw = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));

  // --- the portal
  async function ask(url, fields) {
    let answer;
    try {
      const headers = { Accept: 'application/json', 'X-CSRFToken': form.elements.csrfmiddlewaretoken.value };
      answer = await fetch(url, { headers, method: fields ? 'POST' : 'GET', body: fields && new URLSearchParams(fields) });
    } catch { throw new Lost(); }
    if (answer.status === 204) return {};
    const body = await answer.json().catch(() => null);
    if (answer.ok && body) return body;
    if (answer.status >= 500 || answer.status === 429) throw new Lost(body?.error, answer.headers.get('Retry-After'));
    throw new Refused(body?.error ?? t.tPortal, body);
  }
  async function insist(u, act) {
    for (let tries = 1; ; tries++) {
      if (u.halted) throw new Halted();
      u.asked = Date.now();
      try { return await act(); } catch (e) {
        if (u.halted) throw new Halted();
        if (!(e instanceof Lost)) throw e;
        let pause = Math.min(30, 2 ** (tries - 1)) * (500 + Math.random() * 500);
        if (!navigator.onLine) { meta(u, t.tOffline); await Promise.race([online(), u.stopped]); tries = 0; continue; }
        if (e.after) { pause = e.after * 1000; tries = 0; } else if (tries >= TRIES) throw new Refused(e.message || t.tStopped, { again: true });
        if (e.message) { u.asked = 0; meta(u, e.message); }
        await Promise.race([wait(pause), u.stopped]);
      } finally { u.asked = 0; }
    }
  }

  // --- what is seen: a row a file, and one for all of them
  function row(x, name, act) {
    x.row = $('[data-row]').content.firstElementChild.cloneNode(true);
    $('b', x.row).textContent = name;
    for (const part of x.row.querySelectorAll('[aria-label]')) part.setAttribute('aria-label', fill(part.getAttribute('aria-label'), { name }));
    x.row.addEventListener('click', (e) => { const b = e.target.closest('[data-act]'); if (b) act[b.dataset.act]?.(); });
    $('[data-rows]').append(x.row);
  }
  function show(u) {
    if (!u.row) row(u, u.path, { pause: () => halt(u), resume: () => { paused = false; enqueue(u); }, cancel: () => cancel(u) });
  }
  function hide(u) { u.row?.remove(); u.row = null; }
  function meta(x, text) { if (x.row) $('.meta', x.row).textContent = text; }
  function buttons(x, ...shown) {
    if (!x.row) return;
    const had = document.activeElement?.closest('[data-act]');
    for (const b of x.row.querySelectorAll('[data-act]')) b.hidden = !shown.includes(b.dataset.act);
    if (had?.hidden && x.row.contains(had)) $('[data-act]:not([hidden])', x.row)?.focus();
  }
  function bar(x, percent, look) {
    if (!x.row) return;
    const v = $('.v', x.row);
    v.setAttribute('width', percent); v.setAttribute('class', `v ${look}`); v.parentNode.setAttribute('aria-label', `${percent}%`);
  }
  const sent = (u) => (u.state === 'sent' || u.state === 'ready' ? u.file.size : [...u.loaded.values()].reduce((sum, n) => sum + n, 0));
  const share = (bytes, of) => (of ? Math.min(100, Math.floor((bytes / of) * 100)) : 0);
  const percent = (u) => share(sent(u), u.file.size);
  function paint(x, name, bytes, of, before = '') {
    const now = performance.now(); x.hushed = false;
    x.samples.push([now, bytes]); while (now - x.samples[0][0] > 8000) x.samples.shift();
    const [at, from] = x.samples[0], speed = Math.max(0, (bytes - from) / ((now - at) / 1000)) || 0, p = share(bytes, of);
    bar(x, p, '');
    meta(x, before + fill(t.tProgress, { percent: p, done: size(bytes), total: size(of), speed: size(Math.round(speed)), left: speed ? time((of - bytes) / speed) : '–' }));
    if (Math.floor(p / 25) <= x.quarter) return;
    x.quarter = Math.floor(p / 25);
    if (p < 100 && (x === T || all.size < 2)) say(fill(t.tSaid, { name, percent: x.quarter * 25 }));
  }
  // Since when nothing has been heard although something was asked; 0: all is well.
  function silent(u) {
    const at = u.state === 'running' && !u.halted && navigator.onLine && (u.requests.size || u.failing ? u.moved : u.asked);
    return at && Date.now() - at > SILENT_MS ? at : 0;
  }
  function hush(x, text, at, bytes, of) {
    if (!x.row) return;
    const time = new Date(at).toLocaleTimeString('ja', { timeZone: 'Asia/Tokyo', hour: '2-digit', minute: '2-digit', second: '2-digit' });
    bar(x, share(bytes, of), 'warn'); meta(x, fill(text, { time, percent: share(bytes, of), done: size(bytes), total: size(of) }));
    x.samples = [];
    if (!x.hushed && (x === T || all.size < 2)) say($('.meta', x.row).textContent);
    x.hushed = true;
  }
  function tell(u) {
    const at = silent(u);
    if (at) hush(u, u.requests.size || u.failing ? t.tSilent : t.tAway, at, sent(u), u.file.size); else if (u.loaded.size) paint(u, u.path, sent(u), u.file.size);
  }
  setInterval(() => {
    const running = some('running');
    for (const u of running) if (silent(u)) tell(u);
    if (running.length && running.every(silent)) total();
  }, 1000);
  function progress(u) { if (!u.halted) u.painting ||= setTimeout(() => { u.painting = 0; if (u.state === 'running' && !u.halted) tell(u); }, 250); total(); }
  function total() { T.painting ||= setTimeout(draw, 250); }
  function draw() {
    T.painting = 0;
    if (all.size < 2) { hide(T); return; }
    const name = fill(t.tFiles, { n: all.size }), n = { queued: 0, running: 0, halted: 0, failed: 0, sent: 0, ready: 0 };
    let bytes = 0, of = 0;
    for (const u of all) { n[u.state]++; bytes += sent(u); of += u.file.size; }
    const words = fill(t.tReady, { n: n.ready }) + (n.failed ? ` ${fill(t.tFailed, { n: n.failed })}` : ''), going = n.queued + n.running;
    if (!T.row) { row(T, name, { pause: pauseAll, resume: resumeAll, cancel: cancelAll }); $('[data-rows]').prepend(T.row); }
    $('b', T.row).textContent = name;
    buttons(T, going && !paused ? 'pause' : '', n.halted + n.failed || (going && paused) ? 'resume' : '', going + n.halted + n.failed ? 'cancel' : '');
    const running = some('running'), at = running.length && running.every(silent) && Math.max(...running.map(silent));
    if (at) { hush(T, t.tSilent, at, bytes, of); return; }
    if (going) { paint(T, name, bytes, of, `${words} `); return; }
    T.samples = [];
    bar(T, share(bytes, of), n.failed ? 'err' : n.halted ? 'warn' : n.sent ? '' : 'ok'); meta(T, n.sent ? `${words} ${t.tVerifying}` : words);
    if (!n.sent) say(`${name}: ${words}`);
  }

  // --- the way of one file: begin, send what is missing, complete, wait for the check
  const need = (u) => Math.min(LANES, Math.ceil(u.file.size / PART) || 1);
  function pump() {
    while (!paused && queue.length && (!used || used + need(queue[0]) <= LANES)) {
      const u = queue.shift(), lanes = need(u);
      used += lanes;
      run(u).finally(() => { used -= lanes; pump(); });
    }
  }
  function enqueue(u) {
    u.halted = u.failing = false; u.state = 'queued'; u.stopped = new Promise((stop) => { u.stop = stop; });
    if (all.size <= ROWS) show(u);
    buttons(u, 'cancel'); bar(u, percent(u), ''); meta(u, t.tWaiting);
    queue.push(u); pump(); total();
  }
  async function run(u) {
    if (u.halted) return;
    u.state = 'running'; show(u);
    try {
      const held = u.urls ? null : await begin(u);
      if (!u.there) await send(u, held);
      arrived(u);
    } catch (e) {
      if (u.gone) { forget(u); return; }
      show(u);
      if (e.body?.changed) { forget(u); Object.assign(u, { urls: null, changed: true, loaded: new Map(), hashes: [] }); failed(u, e.message); return; }
      if (e instanceof Halted) { u.state = 'halted'; bar(u, percent(u), 'warn'); meta(u, fill(t.tPaused, { percent: percent(u) })); buttons(u, 'resume', 'cancel'); total(); return; }
      failed(u, e instanceof Refused ? e.message : t.tPortal, e.body?.again || u.urls);
      u.old?.removeAttribute('hidden');
    }
  }
  function failed(u, text, again) {
    u.state = 'failed'; show(u);
    bar(u, percent(u), 'err'); meta(u, text); say(`${u.path}: ${text}`);
    buttons(u, again ? 'resume' : '', 'cancel'); total();
  }
  async function begin(u) {
    const { file, batch } = u, ends = file.size > WHOLE;
    show(u); meta(u, t.tPreparing); buttons(u, 'cancel');
    const digest = await hash(ends ? new Blob([file.slice(0, PART), file.slice(-PART)]) : file);
    meta(u, t.tWaiting);
    // The first file makes the dataset; the others chosen with it wait, and follow there.
    while (!batch.dataset && batch.opening) await batch.opening;
    let opened; if (!batch.dataset) batch.opening = new Promise((go) => { opened = go; });
    try {
      const made = await insist(u, () => ask(t.begin, {
        ...(batch.dataset ? { dataset: batch.dataset } : batch.chosen), name: u.path, size: file.size, content_type: file.type,
        last_modified: file.lastModified, [ends ? 'fingerprint' : 'sha256']: digest,
      }));
      Object.assign(u, { code: made.file, urls: made.urls, parts: made.parts, partSize: made.part_size, given: made.addresses, there: made.state !== 'uploading' });
      if (!batch.chosen.resume) batch.dataset = made.dataset;
      batch.version = made.urls.version;
      if (made.parts === 1 && !ends) u.hashes[1] = digest;
      document.querySelector(`[data-unfinished="${CSS.escape(made.file)}"]`)?.remove();
      const list = document.querySelector('[data-interrupted]');
      if (list && !$('[data-unfinished]', list)) list.remove();
      return made.held;
    } finally { if (opened) { batch.opening = null; opened(); } }
  }
  const piece = (u, n) => u.file.slice((n - 1) * u.partSize, n * u.partSize);
  async function send(u, known, again = 0) {
    buttons(u, 'pause', 'cancel');
    const held = new Set(known ?? (await insist(u, () => ask(u.urls.parts))).held);
    u.loaded = new Map([...held].map((n) => [n, piece(u, n).size])); u.samples = []; u.quarter = Math.floor(percent(u) / 25);
    let next = 1;
    const lane = async () => {
      while (next <= u.parts) {
        const n = next++;
        u.hashes[n] ??= await hash(piece(u, n));
        if (!held.has(n)) await insist(u, () => put(u, n));
        if (u.halted) throw new Halted();
      }
    };
    const lanes = Array.from({ length: need(u) }, lane);
    try { await Promise.all(lanes); } catch (e) { halt(u); await Promise.allSettled(lanes); throw e; }
    const digest = await hash(new Blob(u.hashes.slice(1).map(raw)));
    try { await insist(u, () => ask(u.urls.complete, { parts_sha256: digest })); } catch (e) {
      if (!e.body?.missing || again > 1) throw e;
      await send(u, null, again + 1);
    }
  }
  // Lanes that ask at about the same time share one request.
  function address(u, n) {
    const given = u.given?.[n];
    if (given) { delete u.given[n]; return given; }
    return new Promise((resolve, reject) => {
      u.asking.push({ n, resolve, reject });
      if (u.asking.length > 1) return;
      setTimeout(() => {
        const batch = u.asking.splice(0), parts = Object.fromEntries(batch.map((b) => [b.n, u.hashes[b.n]]));
        ask(u.urls.parts, { parts: JSON.stringify(parts) }).then((made) => batch.forEach((b) => b.resolve(made.parts[b.n])), (e) => batch.forEach((b) => b.reject(e)));
      }, 20);
    });
  }
  async function put(u, n) {
    const { url, headers } = await address(u, n);
    if (u.halted) throw new Halted();
    await new Promise((resolve, reject) => {
      const x = new XMLHttpRequest(); let stall;
      if (!u.requests.size && !u.failing) u.moved = Date.now();
      const alive = () => { clearTimeout(stall); stall = setTimeout(() => x.abort(), STALL_MS); };
      x.open('PUT', url);
      for (const [name, value] of Object.entries(headers)) x.setRequestHeader(name, value);
      // Of a part that is sent again the first bytes only fill the line's buffers: they say nothing of the store.
      const moved = () => { u.moved = Date.now(); u.failing = false; };
      x.upload.onprogress = (e) => { alive(); if (e.loaded > Math.min(u.tried[n] ?? 0, BUFFERS)) moved(); u.loaded.set(n, e.loaded); progress(u); };
      x.onloadend = () => {
        clearTimeout(stall); u.requests.delete(x);
        if (x.status === 200) { moved(); u.loaded.set(n, piece(u, n).size); progress(u); resolve(); return; }
        u.tried[n] = Math.max(u.tried[n] ?? 0, u.loaded.get(n) ?? 0); u.failing = true; u.loaded.delete(n);
        if (x.status === 507 || /StorageFull|QuotaExceeded/.test(x.responseText)) { reject(new Refused(t.tFull, { again: true })); return; }
        // A file that changed breaks the request as a cut line does: only reading it tells.
        piece(u, n).slice(0, 1).arrayBuffer().then(() => reject(new Lost()), (e) => reject(unreadable(e.name)));
      };
      u.requests.add(x); alive(); x.send(piece(u, n));
    });
  }
  function halt(u) { u.halted = true; u.stop(); for (const x of u.requests) x.abort(); }
  function forget(u) {
    if (!u.urls || u.there) return;
    ask(u.urls.cancel, {}).catch(() => {});
    // A dataset in which nothing arrived goes with its last upload: what waits begins anew.
    if (![...all].some((o) => o !== u && o.batch === u.batch && o.urls)) u.batch.dataset = u.batch.chosen.dataset;
  }
  function drop(u) {
    const idle = u.state !== 'running';
    u.gone = true; halt(u); queue = queue.filter((other) => other !== u); all.delete(u); hide(u);
    if (idle) forget(u); // else when its last request has ended
    left(u);
  }
  function cancel(u) {
    if (u.loaded.size && !confirm(fill(t.tReally, { name: u.path }))) return;
    drop(u); $('[data-choose]').focus(); total();
  }
  function pauseAll() { paused = true; some('running').forEach(halt); total(); }
  function resumeAll() { paused = false; some('halted', 'failed').forEach(enqueue); pump(); total(); }
  function cancelAll() {
    if (!confirm(fill(t.tReally, { name: fill(t.tFiles, { n: all.size }) }))) return;
    some('queued', 'running', 'halted', 'failed').forEach(drop); paused = false; $('[data-choose]').focus(); total();
  }
  // The bytes are there: the page may be left.
  function arrived(u) {
    u.state = 'sent';
    bar(u, 100, ''); meta(u, t.tVerifying); buttons(u);
    if (all.size > ROWS) hide(u);
    Object.assign(u, { loaded: new Map(), hashes: [] });
    u.batch.sent += !u.there; left(u);
    checking.set(u.code, u); watch(); total();
  }
  // One question for all that are being verified.
  async function watch() {
    if (watching) return;
    watching = true;
    for (let pause = 500; checking.size; pause = Math.min(pause * 1.4, 10000)) {
      await wait(pause);
      const codes = [...checking.keys()].slice(0, 100); let files;
      try { ({ files } = await ask(`${t.states}?files=${codes}`)); } catch (e) { if (e instanceof Lost) continue; files = {}; }
      for (const code of codes) {
        const found = files[code] ?? { failure: t.tPortal };
        if (found.state === 'verifying') continue;
        const u = checking.get(code); checking.delete(code); pause = 350;
        if (found.state !== 'ready') { u.urls = null; failed(u, found.failure || t.tPortal, true); continue; }
        const text = fill(u.there ? t.tThere : t.tDone, { total: size(u.file.size) });
        u.state = 'ready'; bar(u, 100, 'ok'); meta(u, text);
        if (u.row) { $('[data-act="open"]', u.row).href = u.urls.dataset; buttons(u, 'open'); }
        if (all.size < 2) say(fill(t.tSaidDone, { name: u.path }));
      }
      refresh(); total();
    }
    watching = false;
  }
  function refresh() { refreshing ||= setTimeout(() => { refreshing = 0; document.body.dispatchEvent(new Event('uploaded')); }, 1000); }
  // When the last of those chosen together is there, and was not there before, they become a version.
  async function left({ batch }) {
    refresh();
    if (--batch.left || !batch.sent || !batch.version || !form.elements.version?.checked) return;
    try { await ask(batch.version, { wait: 1 }); say(t.tVersion); } catch (e) { complain(e.message || t.tPortal); }
  }

  // --- choosing
  function take(found) {
    complain('');
    const old = resuming; resuming = null;
    if (!found.length) { complain(t.tEmpty); return; }
    // A new choice after all has ended begins a new account.
    if (!some('queued', 'running', 'halted', 'failed', 'sent').length) { for (const u of all) hide(u); all.clear(); T.samples = []; T.quarter = 0; hide(T); }
    for (const u of [...all].filter((o) => o.changed && found.some(([, path]) => path === o.path))) { all.delete(u); hide(u); } // chosen again
    const { project, dataset, dataset_name: name } = form.elements;
    const chosen = old ? { resume: old.dataset.unfinished } : { project: project?.value ?? '', dataset: dataset?.value ?? '', dataset_name: name?.value ?? '' };
    if (old) { old.hidden = true; found.length = 1; }
    const batch = { chosen, dataset: chosen.dataset, left: found.length, sent: 0 };
    const fresh = found.map(([file, path]) => ({ file, path, batch, old, hashes: [], tried: [], loaded: new Map(), samples: [], requests: new Set(), asking: [], quarter: 0 }));
    for (const u of fresh) { u.state = 'queued'; all.add(u); }
    T.quarter = 0;
    for (const u of fresh) enqueue(u);
  }
  const listed = (files) => [...files].map((file) => [file, file.webkitRelativePath || file.name]);
  async function walk(entry, found) {
    if (entry.isFile) { found.push([await new Promise((...both) => entry.file(...both)), entry.fullPath.slice(1)]); return; }
    const reader = entry.createReader();
    for (let more; (more = await new Promise((...both) => reader.readEntries(...both))).length;) for (const inner of more) await walk(inner, found);
  }
  async function dropped(data) {
    const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean), found = []; // now: after a wait the list is empty
    if (!entries.length) { take(listed(data.files)); return; }
    try { for (const entry of entries) await walk(entry, found); } catch { complain(t.tUnreadable); return; }
    take(found);
  }
  function choose(input) { resuming = null; input.click(); }
  $('[data-choose]').addEventListener('click', () => choose(inputs[0]));
  $('[data-choose-folder]').addEventListener('click', () => choose(inputs[1]));
  for (const input of inputs) input.addEventListener('change', () => { const found = listed(input.files); input.value = ''; take(found); });
  form.addEventListener('submit', (e) => { e.preventDefault(); choose(inputs[0]); });
  document.addEventListener('click', (e) => {
    const b = e.target.closest?.('[data-resume]'); if (!b) return;
    resuming = b.closest('[data-unfinished]'); inputs[0].click();
  });
  for (const type of ['dragover', 'drop']) {
    document.addEventListener(type, (e) => {
      if (!e.dataTransfer?.types.includes('Files')) return;
      e.preventDefault(); // beside the zone a dropped file would replace the page
      if (type === 'drop' && e.target.closest?.('[data-drop]')) { resuming = null; dropped(e.dataTransfer); }
    });
  }
  addEventListener('beforeunload', (e) => { if (some('queued', 'running').length) e.preventDefault(); });
  if (!globalThis.crypto?.subtle) { complain(t.tInsecure); $('[data-drop]').hidden = true; return; }
  (async () => {
    for (const old of document.querySelectorAll('[data-unfinished][data-parts]')) {
      const { held } = await ask(old.dataset.parts).catch(() => ({})); if (!held) continue;
      const p = share(held.length, old.dataset.count);
      $('.v', old).setAttribute('width', p); $('.bar', old).setAttribute('aria-label', `${p}%`);
      $('[data-meta]', old).textContent = fill(t.tPart, { percent: p });
    }
  })();
})();
