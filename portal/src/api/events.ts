// Server-sent events by fetch: the browser's own EventSource cannot show a token.
import { stream } from "./client";
import type { Job } from "./types";

/** A stream that ended is asked for again after so long, twice as long each time. */
const AGAIN_FIRST_MS = 1_000;
const AGAIN_MOST_MS = 30_000;

/** Tells of each job that is new or changed, until it is stopped. */
export function watchJobs(path: string, told: (job: Job) => void, state?: (live: boolean) => void): () => void {
  const stopping = new AbortController();
  void follow(path, told, state ?? (() => {}), stopping.signal);
  return () => stopping.abort();
}

async function follow(
  path: string,
  told: (job: Job) => void,
  state: (live: boolean) => void,
  signal: AbortSignal,
): Promise<void> {
  let wait = AGAIN_FIRST_MS;
  while (!signal.aborted) {
    try {
      const response = await stream(path, signal);
      state(true);
      wait = AGAIN_FIRST_MS;
      for await (const data of events(response, signal)) told(JSON.parse(data) as Job);
    } catch {
      // Whatever it was, the next attempt says it again or works.
    }
    if (signal.aborted) return;
    state(false);
    await new Promise((resume) => setTimeout(resume, wait));
    wait = Math.min(wait * 2, AGAIN_MOST_MS);
  }
}

/** The data of each event named `job`. */
async function* events(response: Response, signal: AbortSignal): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const lines = block.split("\n");
        if (!lines.some((line) => line === "event: job" || line === "event:job")) continue;
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        yield data.join("\n");
      }
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}
