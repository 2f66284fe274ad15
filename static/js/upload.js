// Files from the browser straight to the object store, in parts whose SHA-256 is part of the signed address (our own work).
// The store's list of parts is the truth: pause, reload and another browser all begin by asking for it. Words and addresses
// come from data attributes of the page. A part that fails is signed anew and sent again, with growing pauses.
(() => {
  const root = document.querySelector('[data-upload]');
  if (!root) return;
  const $ = (s, r = root) => r.querySelector(s);
  // The words stand on an element around the form: a field called "dataset" hides the form's own `dataset`.
  const t = root.dataset, form = $('form'), input = $('[data-files]'), problem = $('[data-error]');
  const LANES = matchMedia('(pointer: coarse)').matches ? 2 : 4;
  const MIB = 2 ** 20, WHOLE = 64 * MIB, END = 8 * MIB, TRIES = 7, STALL_MS = 60000;
  const uploads = new Set();
  let turn = Promise.resolve(), resuming = null;

  class Lost extends Error {} // nobody answered, or not well: try again
  class Refused extends Error { constructor(text, body) { super(text); this.body = body; } }
  class Halted extends Error {} // paused or cancelled

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? '');
  const wait = (ms) => new Promise((go) => setTimeout(go, ms));
  const online = () => new Promise((go) => addEventListener('online', go, { once: true }));
  function say(text) { const live = document.getElementById('live'); if (live) { live.textContent = ''; requestAnimationFrame(() => { live.textContent = text; }); } }
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
      worker.onmessage = ({ data: { id, digest } }) => {
        const [resolve, reject] = waiting.get(id); waiting.delete(id);
        if (digest) resolve(digest); else reject(new Refused(t.tUnreadable));
      };
      worker.onerror = () => { for (const [, reject] of waiting.values()) reject(new Refused(t.tPortal)); waiting.clear(); };
    }
    return new Promise((...both) => { waiting.set(++asked, both); worker.postMessage({ id: asked, blob }); });
  }
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
    if (answer.status >= 500 || answer.status === 429) throw new Lost(body?.error);
    throw new Refused(body?.error ?? t.tPortal, body);
  }
  async function insist(u, act) {
    for (let tries = 1; ; tries++) {
      if (u.halted) throw new Halted();
      try { return await act(); } catch (e) {
        if (u.halted) throw new Halted();
        if (!(e instanceof Lost)) throw e;
        if (!navigator.onLine) { meta(u, t.tOffline); await Promise.race([online(), u.stopped]); tries = 0; continue; }
        if (tries >= TRIES) throw new Refused(e.message || t.tStopped, { again: true });
        await Promise.race([wait(Math.min(30, 2 ** (tries - 1)) * (500 + Math.random() * 500)), u.stopped]);
      }
    }
  }

  // --- one row a file
  function row(file, fields) {
    const u = { file, fields, halted: false, hashes: [], loaded: new Map(), samples: [], requests: new Set(), queue: [], quarter: 0 };
    u.row = $('[data-row]').content.firstElementChild.cloneNode(true);
    $('b', u.row).textContent = file.name;
    for (const part of u.row.querySelectorAll('[aria-label]')) part.setAttribute('aria-label', fill(part.getAttribute('aria-label'), { name: file.name }));
    u.row.addEventListener('click', (e) => {
      const act = e.target.closest('[data-act]')?.dataset.act;
      if (act === 'pause') halt(u); else if (act === 'resume') enqueue(u); else if (act === 'cancel') cancel(u);
    });
    $('[data-rows]').append(u.row); uploads.add(u); enqueue(u);
    return u;
  }
  function meta(u, text) { $('.meta', u.row).textContent = text; }
  function buttons(u, ...shown) {
    const had = document.activeElement?.closest('[data-act]');
    for (const b of u.row.querySelectorAll('[data-act]')) b.hidden = !shown.includes(b.dataset.act);
    if (had?.hidden && u.row.contains(had)) $('[data-act]:not([hidden])', u.row)?.focus();
  }
  function bar(u, percent, look) {
    const v = $('.v', u.row);
    v.setAttribute('width', percent); v.setAttribute('class', `v ${look}`); v.parentNode.setAttribute('aria-label', `${percent}%`);
  }
  const sent = (u) => [...u.loaded.values()].reduce((sum, n) => sum + n, 0);
  const percent = (u) => (u.file.size ? Math.min(100, Math.floor((sent(u) / u.file.size) * 100)) : 0);
  function paint(u) {
    const now = performance.now(), bytes = sent(u), last = u.samples.at(-1);
    if (u.halted || (last && now - last[0] < 250)) return;
    u.samples.push([now, bytes]); while (now - u.samples[0][0] > 8000) u.samples.shift();
    const [at, from] = u.samples[0], speed = Math.max(0, (bytes - from) / ((now - at) / 1000)) || 0, p = percent(u);
    bar(u, p, '');
    meta(u, fill(t.tProgress, { done: size(bytes), total: size(u.file.size), speed: size(Math.round(speed)), left: speed ? time((u.file.size - bytes) / speed) : '–' }));
    if (Math.floor(p / 25) > u.quarter) { u.quarter = Math.floor(p / 25); if (p < 100) say(fill(t.tSaid, { name: u.file.name, percent: u.quarter * 25 })); }
  }

  // --- the way of one file: begin, send what is missing, complete, wait for the check
  function enqueue(u) {
    u.halted = false; u.busy = true; u.stopped = new Promise((stop) => { u.stop = stop; });
    buttons(u, 'cancel'); bar(u, percent(u), ''); meta(u, t.tWaiting);
    turn = turn.then(() => run(u));
  }
  async function run(u) {
    if (u.halted) return;
    try {
      if (!u.urls) await begin(u);
      await send(u); verify(u);
    } catch (e) {
      u.busy = false;
      if (u.gone) { forget(u); return; }
      if (e instanceof Halted) { bar(u, percent(u), 'warn'); meta(u, fill(t.tPaused, { percent: percent(u) })); buttons(u, 'resume', 'cancel'); return; }
      const text = e instanceof Refused ? e.message : t.tPortal;
      bar(u, percent(u), 'err'); meta(u, text); say(`${u.file.name}: ${text}`);
      buttons(u, e.body?.again || u.urls ? 'resume' : '', 'cancel');
      u.old?.removeAttribute('hidden');
    }
  }
  async function begin(u) {
    meta(u, t.tPreparing);
    const { file } = u, ends = file.size > WHOLE;
    const digest = await hash(ends ? new Blob([file.slice(0, END), file.slice(-END)]) : file);
    const made = await insist(u, () => ask(t.begin, {
      ...u.fields(), name: file.name, size: file.size, content_type: file.type, last_modified: file.lastModified, [ends ? 'fingerprint' : 'sha256']: digest,
    }));
    Object.assign(u, { urls: made.urls, parts: made.parts, partSize: made.part_size });
    u.fields.dataset = made.dataset;
    document.querySelector(`[data-unfinished="${CSS.escape(made.file)}"]`)?.remove();
    const list = document.querySelector('[data-interrupted]');
    if (list && !$('[data-unfinished]', list)) list.remove();
  }
  const piece = (u, n) => u.file.slice((n - 1) * u.partSize, n * u.partSize);
  async function send(u, again = 0) {
    buttons(u, 'pause', 'cancel');
    const held = new Set((await insist(u, () => ask(u.urls.parts))).held);
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
    const lanes = Array.from({ length: LANES }, lane);
    try { await Promise.all(lanes); } catch (e) { halt(u); await Promise.allSettled(lanes); throw e; }
    const digest = await hash(new Blob(u.hashes.slice(1).map(raw)));
    try { await insist(u, () => ask(u.urls.complete, { parts_sha256: digest })); } catch (e) {
      if (!e.body?.missing || again > 1) throw e;
      await send(u, again + 1);
    }
  }
  // Lanes that ask at about the same time share one request.
  function address(u, n) {
    return new Promise((resolve, reject) => {
      u.queue.push({ n, resolve, reject });
      if (u.queue.length > 1) return;
      setTimeout(() => {
        const batch = u.queue.splice(0), parts = Object.fromEntries(batch.map((b) => [b.n, u.hashes[b.n]]));
        ask(u.urls.parts, { parts: JSON.stringify(parts) }).then((made) => batch.forEach((b) => b.resolve(made.parts[b.n])), (e) => batch.forEach((b) => b.reject(e)));
      }, 20);
    });
  }
  async function put(u, n) {
    const { url, headers } = await address(u, n);
    if (u.halted) throw new Halted();
    await new Promise((resolve, reject) => {
      const x = new XMLHttpRequest(); let stall;
      const alive = () => { clearTimeout(stall); stall = setTimeout(() => x.abort(), STALL_MS); };
      x.open('PUT', url);
      for (const [name, value] of Object.entries(headers)) x.setRequestHeader(name, value);
      x.upload.onprogress = (e) => { alive(); u.loaded.set(n, e.loaded); paint(u); };
      x.onloadend = () => {
        clearTimeout(stall); u.requests.delete(x);
        if (x.status === 200) { u.loaded.set(n, piece(u, n).size); paint(u); resolve(); } else { u.loaded.delete(n); reject(new Lost()); }
      };
      u.requests.add(x); alive(); x.send(piece(u, n));
    });
  }
  function halt(u) { u.halted = true; u.stop(); for (const x of u.requests) x.abort(); }
  function forget(u) { if (u.urls) ask(u.urls.cancel, {}).catch(() => {}); }
  function cancel(u) {
    if (u.loaded.size && !confirm(fill(t.tReally, { name: u.file.name }))) return;
    u.gone = true; halt(u); uploads.delete(u);
    u.row.remove(); $('[data-choose]').focus();
    forget(u);
  }
  async function verify(u) {
    bar(u, 100, ''); meta(u, t.tVerifying); buttons(u);
    u.busy = false; // the bytes are there: the page may be left
    document.body.dispatchEvent(new Event('uploaded'));
    for (let pause = 500; ; pause = Math.min(pause * 1.4, 10000)) {
      await wait(pause);
      let file; try { file = await ask(u.urls.state); } catch (e) { if (e instanceof Lost) continue; meta(u, e.message); return; }
      if (file.state === 'verifying') continue;
      const ready = file.state === 'ready', text = ready ? fill(t.tDone, { total: size(u.file.size) }) : file.failure;
      bar(u, 100, ready ? 'ok' : 'err'); meta(u, text); uploads.delete(u);
      const open = $('[data-act="open"]', u.row); open.href = u.urls.dataset; buttons(u, 'open');
      say(ready ? fill(t.tSaidDone, { name: u.file.name }) : text);
      document.body.dispatchEvent(new Event('uploaded'));
      return;
    }
  }

  // --- choosing
  function take(files) {
    problem.hidden = true;
    const old = resuming; resuming = null;
    if (old) {
      if (!files.length) return;
      old.hidden = true;
      row(files[0], () => ({ resume: old.dataset.unfinished })).old = old;
      return;
    }
    // The first file makes the dataset; the others chosen with it follow there.
    const { project, dataset, dataset_name: name } = form.elements;
    const chosen = { project: project?.value ?? '', dataset: dataset?.value ?? '', dataset_name: name?.value ?? '' };
    const fields = () => (fields.dataset ? { dataset: fields.dataset } : chosen);
    for (const file of files) row(file, fields);
  }
  $('[data-choose]').addEventListener('click', () => { resuming = null; input.click(); });
  input.addEventListener('change', () => { const files = [...input.files]; input.value = ''; take(files); });
  form.addEventListener('submit', (e) => { e.preventDefault(); input.click(); });
  document.addEventListener('click', (e) => {
    const b = e.target.closest?.('[data-resume]'); if (!b) return;
    resuming = b.closest('[data-unfinished]'); input.click();
  });
  for (const type of ['dragover', 'drop']) {
    document.addEventListener(type, (e) => {
      if (!e.dataTransfer?.types.includes('Files')) return;
      e.preventDefault(); // beside the zone a dropped file would replace the page
      if (type === 'drop' && e.target.closest?.('[data-drop]')) { resuming = null; take([...e.dataTransfer.files]); }
    });
  }
  addEventListener('beforeunload', (e) => { if ([...uploads].some((u) => u.busy)) e.preventDefault(); });
  if (!globalThis.crypto?.subtle) { problem.textContent = t.tInsecure; problem.hidden = false; $('[data-drop]').hidden = true; return; }
  (async () => {
    for (const old of document.querySelectorAll('[data-unfinished][data-parts]')) {
      const { held } = await ask(old.dataset.parts).catch(() => ({})); if (!held) continue;
      const p = Math.floor((held.length / old.dataset.count) * 100);
      $('.v', old).setAttribute('width', p); $('.bar', old).setAttribute('aria-label', `${p}%`);
      $('[data-meta]', old).textContent = fill(t.tPart, { percent: p });
    }
  })();
})();
