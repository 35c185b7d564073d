// Calls of the service; where it asks for a token, so does the page.

const STORED = "act2sal-token";
let asking = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Resolves once a token was entered; there is one dialog at a time, however many calls wait for it.
function ask() {
  asking ??= new Promise((resolve) => {
    const token = element("input", { id: "token", type: "password", autocomplete: "off" });
    const title = element("h2", { id: "ask-title", textContent: "This service asks for a token" });
    const go = element("button", { className: "main", textContent: "Go on" });
    const label = element("label", {}, "Token ", token);
    const dialog = element("dialog", { id: "ask" }, element("form", { method: "dialog" }, title, label, go));
    dialog.setAttribute("aria-labelledby", title.id);
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(STORED, token.value);
      dialog.remove();
      asking = null;
      resolve();
    }, { once: true });
    document.querySelector("main").append(dialog);
    dialog.showModal();
  });
  return asking;
}

// The answer of the service; an error has its reason as message. Where it is busy, it is asked again.
export async function call(path, options = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const headers = new Headers(options.headers);
    const token = sessionStorage.getItem(STORED);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (response.status === 401) {
      await ask();
    } else if (response.status === 503 && attempt < 20) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    } else {
      const problem = await response.json().catch(() => null);
      throw new Error(problem?.detail ?? `the service answers ${response.status}`);
    }
  }
}
