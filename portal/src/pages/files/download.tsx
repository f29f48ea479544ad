// Downloads out of a point: a stream that breaks off is never taken for a whole file.
import { Button, ProgressBar } from "@fluentui/react-components";
import { useCallback, useRef, useState } from "react";
import { client, ProblemError, stream, take } from "../../api/client";
import type { FilesSession } from "../../api/types";
import { count, size } from "../../words";

/** What is kept in memory until it is whole; more is written to a file as it comes, where the browser can. */
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
      // How large a folder comes out nobody knows before.
      const large = bytes === undefined || bytes > BYTES_MOST;
      const picker = large ? window.showSaveFilePicker : undefined;
      const refused = bytes !== undefined && large && !picker;
      setAll((list) => [...list, { id, name, done: 0, total: bytes ?? null, state: refused ? "failed" : "goes", said: refused ? TOO_LARGE : "" }]);
      if (refused) return;
      const asked: Asked = { session, place, form, told: (done, total) => change(id, { done, total }), signal: stop.signal };
      // Asked at once, while it is still the click that asks: browsers let nothing else open the dialog.
      const saved = picker ? picker.call(window, { suggestedName: name }).then((file) => written(asked, file)) : kept(asked, name);
      saved
        .then((said) => change(id, { state: "saved", said }))
        .catch((error: unknown) => {
          if (error instanceof DOMException && error.name === "AbortError" && !stop.signal.aborted) stop.abort();
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

const TOO_LARGE = `it is larger than ${size(BYTES_MOST)}, which this browser cannot write: Chrome and Edge can, and strongroom files on the command line`;

/** As Chrome and Edge have it; TypeScript's own library does not know of it yet. */
declare global {
  interface Window {
    showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;
  }
}

interface Asked {
  session: FilesSession;
  place: string;
  form: Form;
  told: (done: number, total: number | null) => void;
  signal: AbortSignal;
}

function named(place: string, form: Form): string {
  const last = place.split(/[:/]/).filter(Boolean).at(-1) ?? "files";
  return form === "zip" ? `${last}.zip` : last;
}

/** Into memory, and then to where the browser puts downloads. Gives what is to be told of it. */
async function kept(asked: Asked, name: string): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const said = await fetched(asked, async (piece, done) => {
    if (done > BYTES_MOST) throw new ProblemError({ code: "too_large", title: "Too large", detail: TOO_LARGE, status: 0, type: "" });
    parts.push(piece);
  });
  save(new Blob(parts), name);
  return said;
}

/** Into a file as it comes. The browser writes beside it, and puts it in its place only with `close`: a stream that
    breaks off leaves what was there. */
async function written(asked: Asked, file: FileSystemFileHandle): Promise<string> {
  const to = await file.createWritable();
  try {
    const said = await fetched(asked, (piece) => to.write(piece));
    await to.close();
    return said;
  } catch (error) {
    await to.abort().catch(() => {});
    throw error;
  }
}

/** Takes a stream piece by piece, each once the one before is dealt with: what cannot be written waits at the server. */
async function fetched(
  { session, place, form, told, signal }: Asked,
  take: (piece: Uint8Array<ArrayBuffer>, done: number) => Promise<void>,
): Promise<string> {
  const base = `/v1/vaults/${session.vault}/files/${session.id}`;
  const asked = new URLSearchParams(form === "zip" ? { place, format: "zip" } : { place });
  const response = await stream(`${base}/${form === "zip" ? "archive" : "content"}?${asked}`, signal);
  const length = response.headers.get("Content-Length");
  const total = length === null ? null : Number(length);
  let done = 0;
  let last = 0;
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const piece = await reader.read();
      if (piece.done) break;
      done += piece.value.length;
      await take(piece.value as Uint8Array<ArrayBuffer>, done);
      if (performance.now() - last > TELL_EVERY_MS) {
        last = performance.now();
        told(done, total);
      }
    }
  } catch (error) {
    void reader?.cancel().catch(() => {});
    throw error;
  }
  told(done, total);
  return outcome(session, Number(response.headers.get("Strongroom-Download")), done);
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
