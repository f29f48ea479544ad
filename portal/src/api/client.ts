// Every request goes through here: with the token, and an error that can be shown to a person.
import createClient, { type Middleware } from "openapi-fetch";
import type { paths } from "./schema";
import { signedOut, token } from "./session";
import type { Problem } from "./types";

/** What the server said, or that it said nothing. */
export class ProblemError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const withToken: Middleware = {
  onRequest({ request }) {
    const shown = token();
    if (shown) request.headers.set("Authorization", `Bearer ${shown}`);
    return request;
  },
  onResponse({ request, response }) {
    // Signing in is refused with the same status; that is no end of a session.
    if (response.status === 401 && request.headers.has("Authorization")) signedOut();
    return undefined;
  },
};

export const client = createClient<paths>({
  baseUrl: window.location.origin,
  querySerializer: { array: { style: "form", explode: true } },
});
client.use(withToken);

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** The answer, or a `ProblemError`. */
export async function take<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch {
    throw new ProblemError(silent());
  }
  const { data, error, response } = answer;
  if (!response.ok) throw new ProblemError(isProblem(error) ? error : strange(response));
  return data as T;
}

/** Bytes and streams, which the typed client does not read. */
export async function stream(path: string, signal?: AbortSignal): Promise<Response> {
  const shown = token();
  const headers: HeadersInit = shown ? { Authorization: `Bearer ${shown}` } : {};
  let response: Response;
  try {
    response = await fetch(path, { headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ProblemError(silent());
  }
  if (response.status === 401) signedOut();
  if (response.ok) return response;
  const problem: unknown = await response.json().catch(() => null);
  throw new ProblemError(isProblem(problem) ? problem : strange(response));
}

interface PageOf<T> {
  items: T[];
  next?: string | null;
}

/** All pages of a list, told of as they come. */
export async function pages<T>(
  ask: (after: string | undefined) => Promise<PageOf<T>>,
  most: number,
  told?: (soFar: T[]) => void,
): Promise<{ items: T[]; more: boolean }> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const page = await ask(after);
    items.push(...page.items);
    after = page.next ?? undefined;
    if (after) told?.([...items]);
  } while (after && items.length < most);
  return { items, more: after !== undefined };
}

/** So that a request that is sent twice is done once. */
export function once(): { "Idempotency-Key": string } {
  return { "Idempotency-Key": crypto.randomUUID() };
}

export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  const detail = error instanceof Error ? error.message : String(error);
  return { code: "internal", detail, status: 0, title: "This page has a defect", type: "" };
}

function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "detail" in value && "code" in value;
}

function silent(): Problem {
  return {
    code: "unavailable",
    title: "The server cannot be reached",
    detail: "No answer came from the server.",
    hint: "See that it runs and that you are connected; then try again.",
    status: 0,
    type: "",
  };
}

function strange(response: Response): Problem {
  const detail = `The answer was ${response.status} ${response.statusText}, without an explanation.`;
  const hint = "If something stands between you and the server, such as a proxy, look at its log.";
  return { code: "internal", title: "The server answered something else", detail, hint, status: response.status, type: "" };
}
