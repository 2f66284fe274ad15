// Passkeys (WebAuthn) for forms with data-passkey="create", "get" or "login". Runs under script-src 'self'.
// The server's options are in <script type="application/json" id="passkey-data">, for "login" at data-passkey-url;
// the browser's answer goes as JSON into the form's field "credential".

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const withBytes = (list) => (list || []).map((item) => ({ ...item, id: bytes(item.id) }));

async function create({ publicKey }, alone) {
  const selection = { ...publicKey.authenticatorSelection };
  selection.residentKey = alone ? "required" : "discouraged";
  selection.requireResidentKey = alone;
  if (alone) selection.userVerification = "required";
  return navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      user: { ...publicKey.user, id: bytes(publicKey.user.id) },
      excludeCredentials: withBytes(publicKey.excludeCredentials),
      authenticatorSelection: selection,
    },
  });
}

async function get({ publicKey }) {
  return navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      allowCredentials: withBytes(publicKey.allowCredentials),
    },
  });
}

function written(credential) {
  const from = credential.response;
  const response = { clientDataJSON: text(from.clientDataJSON) };
  if (from.attestationObject) {
    response.attestationObject = text(from.attestationObject);
    response.transports = from.getTransports ? from.getTransports() : [];
  } else {
    response.authenticatorData = text(from.authenticatorData);
    response.signature = text(from.signature);
    response.userHandle = from.userHandle ? text(from.userHandle) : null;
  }
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment,
    clientExtensionResults: credential.getClientExtensionResults(),
    response,
  });
}

async function options(form) {
  if (form.dataset.passkey !== "login") return JSON.parse(document.getElementById("passkey-data").textContent);
  const answer = await fetch(form.dataset.passkeyUrl, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new TypeError("no options");
  return answer.json();
}

async function submitted(event) {
  const form = event.target.closest?.("form[data-passkey]");
  if (!form) return;
  event.preventDefault();
  const error = form.querySelector("[data-passkey-error]");
  const button = form.querySelector("button");
  const say = (key) => { error.textContent = error.dataset[key]; error.hidden = false; };
  error.hidden = true;
  if (!window.PublicKeyCredential) return say("unsupported");
  button.disabled = true;
  try {
    const data = await options(form);
    const alone = form.elements.passwordless ? form.elements.passwordless.checked : false;
    const credential = form.dataset.passkey === "create"
      ? await create(data.creation_options, alone)
      : await get(data.request_options);
    form.elements.credential.value = written(credential);
    form.submit();
  } catch (problem) {
    button.disabled = false;
    say(problem instanceof TypeError ? "failed" : "cancelled");
  }
}

document.addEventListener("submit", submitted);
