// SHA-256 off the page's thread. One blob at a time, so that memory holds one part whatever the size of the file.
let last = Promise.resolve();
onmessage = ({ data: { id, blob } }) => {
  last = last.then(async () => {
    try {
      const digest = await crypto.subtle.digest('SHA-256', await blob.arrayBuffer());
      postMessage({ id, digest: [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join('') });
    } catch (e) { postMessage({ id, why: e.name }); }
  });
};
