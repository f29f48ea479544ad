// Single sign-on as docs/sign-in.md tells it: the verifier stays in this tab, the provider's code alone is worth nothing.
import { client, ProblemError, take } from "./client";

const KEY = "strongroom.sign-on";

interface Begun {
  verifier: string;
  stays: boolean;
  to: string;
}

/** Leaves for the provider. */
export async function beginSignIn({ stays, to }: Omit<Begun, "verifier">): Promise<void> {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const challenge = base64url(new Uint8Array(hash));
  const redirect = `${window.location.origin}/sign-in`;
  const begun = await take(client.POST("/v1/login/sso", { body: { challenge, redirect } }));
  sessionStorage.setItem(KEY, JSON.stringify({ verifier, stays, to } satisfies Begun));
  window.location.assign(begun.url);
}

/** With what the browser came back with. */
export async function finishSignIn(came: URLSearchParams): Promise<{ token: string; stays: boolean; to: string }> {
  const kept = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  const code = came.get("code");
  if (!code) throw refused(came.get("error_description") ?? came.get("error") ?? "The provider gave no code.");
  if (!kept) throw refused("This tab did not begin the sign-in that it came back from.");
  const { verifier, stays, to } = JSON.parse(kept) as Begun;
  const state = came.get("state") ?? "";
  const session = await take(client.POST("/v1/login/sso/finish", { body: { code, state, verifier } }));
  return { token: session.token, stays, to };
}

function refused(detail: string): ProblemError {
  const title = "Single sign-on did not work";
  return new ProblemError({ code: "unauthenticated", title, detail, hint: "Begin anew.", status: 401, type: "" });
}

function base64url(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
