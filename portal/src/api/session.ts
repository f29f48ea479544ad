// The token of whoever is signed in: in the tab's own storage, or in the browser's if they wish to stay signed in.
const KEY = "strongroom.token";

type Listener = () => void;
const listeners = new Set<Listener>();

export function token(): string | null {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
}

export function signedIn(value: string, stays: boolean): void {
  signedOut(false);
  (stays ? localStorage : sessionStorage).setItem(KEY, value);
  tell();
}

export function signedOut(telling = true): void {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (telling) tell();
}

/** Also of other tabs: who signs out in one is out in all. */
export function subscribe(listener: Listener): () => void {
  listeners.add(listener);
  window.addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", listener);
  };
}

function tell(): void {
  for (const listener of listeners) listener();
}
