// Downloads out of a point: a stream that breaks off is never taken for a whole file.
import { Button, ProgressBar } from "@fluentui/react-components";
import { useCallback, useRef, useState } from "react";
import { client, ProblemError, stream, take } from "../../api/client";
import type { FilesSession } from "../../api/types";
import { count, size } from "../../words";

/** A browser keeps a download in memory until it is whole: more than this is for the command line. */
const BYTES_MOST = 2 * 1024 ** 3;
/** What is told of how far it is, at most so often. */
const TELL_EVERY_MS = 200;

type Form = "content" | "zip";

interface Download {
  id: number;
  name: string;
  done: number;
  total: number | null;
  state: "goes" | "saved" | "failed";
  said: string;
}

export function useDownloads(session: FilesSession) {
  const [all, setAll] = useState<Download[]>([]);
  const numbers = useRef(0);
  const stops = useRef(new Map<number, AbortController>());
  const change = useCallback(
    (id: number, part: Partial<Download>) => setAll((list) => list.map((one) => (one.id === id ? { ...one, ...part } : one))),
    [],
  );
  const begin = useCallback(
    (place: string, form: Form, bytes?: number) => {
      const id = ++numbers.current;
      const name = named(place, form);
      const stop = new AbortController();
      stops.current.set(id, stop);
      const large = bytes !== undefined && bytes > BYTES_MOST;
      setAll((list) => [...list, { id, name, done: 0, total: bytes ?? null, state: large ? "failed" : "goes", said: large ? TOO_LARGE : "" }]);
      if (large) return;
      fetched(session, place, form, (done, total) => change(id, { done, total }), stop.signal)
        .then(({ blob, said }) => {
          save(blob, name);
          change(id, { state: "saved", said });
        })
        .catch((error: unknown) => {
          const said = stop.signal.aborted ? "given up" : error instanceof ProblemError ? error.problem.detail : "it broke off: nothing was saved";
          change(id, { state: "failed", said });
        });
    },
    [session, change],
  );
  const cancel = useCallback((id: number) => stops.current.get(id)?.abort(), []);
  const forget = useCallback((id: number) => setAll((list) => list.filter((one) => one.id !== id)), []);
  return { all, begin, cancel, forget };
}

const TOO_LARGE = `it is larger than ${size(BYTES_MOST)}: strongroom files on the command line brings it out`;

function named(place: string, form: Form): string {
  const last = place.split(/[:/]/).filter(Boolean).at(-1) ?? "files";
  return form === "zip" ? `${last}.zip` : last;
}

async function fetched(
  session: FilesSession,
  place: string,
  form: Form,
  told: (done: number, total: number | null) => void,
  signal: AbortSignal,
): Promise<{ blob: Blob; said: string }> {
  const base = `/v1/vaults/${session.vault}/files/${session.id}`;
  const asked = new URLSearchParams(form === "zip" ? { place, format: "zip" } : { place });
  const response = await stream(`${base}/${form === "zip" ? "archive" : "content"}?${asked}`, signal);
  const length = response.headers.get("Content-Length");
  const total = length === null ? null : Number(length);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let done = 0;
  let last = 0;
  const reader = response.body?.getReader();
  while (reader) {
    const piece = await reader.read();
    if (piece.done) break;
    parts.push(piece.value as Uint8Array<ArrayBuffer>);
    done += piece.value.length;
    if (done > BYTES_MOST) {
      void reader.cancel();
      throw new ProblemError({ code: "too_large", title: "Too large", detail: TOO_LARGE, status: 0, type: "" });
    }
    if (performance.now() - last > TELL_EVERY_MS) {
      last = performance.now();
      told(done, total);
    }
  }
  told(done, total);
  const said = await outcome(session, Number(response.headers.get("Strongroom-Download")), done);
  return { blob: new Blob(parts), said };
}

/** What the server says came of it: only then is it whole. */
async function outcome(session: FilesSession, number: number, bytes: number): Promise<string> {
  const path = { vault: session.vault, session: session.id, number };
  const told = await take(client.GET("/v1/vaults/{vault}/files/{session}/downloads/{number}", { params: { path } }));
  if (told.state !== "complete" || told.bytes !== bytes) {
    const problem = told.problem;
    throw new ProblemError(problem ?? { code: "unavailable", title: "Broken off", detail: "it is not whole: nothing was saved", status: 0, type: "" });
  }
  const left = told.report?.failed_count ?? 0;
  return left > 0 ? `${count(left, "entry", "entries")} could not be read and are not in it` : "";
}

function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function Downloads({ of: { all, cancel, forget } }: { of: ReturnType<typeof useDownloads> }) {
  if (all.length === 0) return null;
  return (
    <section className="downloads" aria-label="Downloads" role="status">
      <ul className="rows">
        {all.map((one) => (
          <li key={one.id}>
            <span className="row-name strong">{one.name}</span>
            {one.state === "goes" && <ProgressBar className="disk-bar" value={one.total ? one.done / one.total : undefined} aria-label={`Download of ${one.name}`} />}
            <span className={`row-end ${one.state === "failed" ? "bad-text" : "faint"}`}>
              {one.state === "goes" ? size(one.done) : one.state === "saved" ? `saved, ${size(one.done)}${one.said ? `; ${one.said}` : ""}` : one.said}
            </span>
            {one.state === "goes" ? (
              <Button size="small" appearance="subtle" onClick={() => cancel(one.id)}>
                Give up
              </Button>
            ) : (
              <Button size="small" appearance="subtle" onClick={() => forget(one.id)}>
                Hide
              </Button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
