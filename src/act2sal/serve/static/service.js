// Calls of the service; where it asks for a token, so does the page.

const STORED = "act2sal-token";
let asking = null;

function ask() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(STORED, document.getElementById("token").value);
      asking = null;
      resolve();
    }, { once: true });
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
