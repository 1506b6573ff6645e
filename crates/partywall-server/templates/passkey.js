"use strict";
// Passkeys need a script; nothing else here does. A form with data-passkey is shown where the
// browser can do them: it asks our page for the options, the authenticator for an answer, and
// posts that like any other form.
(() => {
  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const withBytes = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

  const answer = async (kind, options) => {
    options.challenge = toBytes(options.challenge);
    if (kind === "create") {
      options.user.id = toBytes(options.user.id);
      options.excludeCredentials = withBytes(options.excludeCredentials);
    } else {
      options.allowCredentials = withBytes(options.allowCredentials);
    }
    const made = await navigator.credentials[kind]({ publicKey: options });
    const response = { clientDataJSON: toText(made.response.clientDataJSON) };
    if (kind === "create") {
      response.attestationObject = toText(made.response.attestationObject);
      response.transports = made.response.getTransports ? made.response.getTransports() : [];
    } else {
      response.authenticatorData = toText(made.response.authenticatorData);
      response.signature = toText(made.response.signature);
      if (made.response.userHandle) response.userHandle = toText(made.response.userHandle);
    }
    return JSON.stringify({
      id: made.id, rawId: toText(made.rawId), type: made.type, response,
      authenticatorAttachment: made.authenticatorAttachment || undefined,
      clientExtensionResults: made.getClientExtensionResults(),
    });
  };

  if (!window.PublicKeyCredential) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      if (form.elements.answer.value) return;
      event.preventDefault();
      const failed = form.querySelector("[data-failed]");
      failed.hidden = true;
      try {
        const asked = await fetch(form.dataset.options, { method: "POST" });
        if (!asked.ok) throw new Error("no options");
        form.elements.answer.value = await answer(form.dataset.passkey, await asked.json());
        form.requestSubmit();
      } catch {
        form.elements.answer.value = "";
        failed.hidden = false;
      }
    });
  }
})();
