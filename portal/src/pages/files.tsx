// Files inside a point: looked through, searched, downloaded.
import { Breadcrumb, BreadcrumbButton, BreadcrumbDivider, BreadcrumbItem, Button, SearchBox, Spinner } from "@fluentui/react-components";
import { ArrowDownloadRegular, DocumentRegular, FolderRegular, HardDriveRegular, LinkRegular } from "../icons";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Fragment, useEffect, useState } from "react";
import { useParams, useSearchParams } from "react-router";
import { client, once, take } from "../api/client";
import { copiesOf, item as itemQuery } from "../api/queries";
import type { FilesEntry, FilesRegion, FilesSession } from "../api/types";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";
import { Trouble } from "../parts/trouble";
import { instant, size } from "../words";
import { Downloads, useDownloads } from "./files/download";
import { Found } from "./files/found";

const PAGE = 500;

/** A session of one's own on the point: opened when the page is, closed when it is left. */
function useSession(vault: string, item: string, point: string, fromCopy: boolean) {
  const opened = useQuery({
    queryKey: ["files", vault, item, point, fromCopy],
    staleTime: Infinity,
    gcTime: 0,
    refetchOnWindowFocus: false,
    queryFn: () =>
      take(
        client.POST("/v1/vaults/{vault}/items/{item}/points/{point}/files", {
          params: { path: { vault, item, point }, header: once() },
          body: { from_copy: fromCopy },
        }),
      ),
  });
  const id = opened.data?.id;
  useEffect(() => {
    if (!id) return;
    // A page that is only drawn anew needs it again: it is closed when nobody came back within a moment.
    closing.delete(id);
    return () => {
      closing.add(id);
      setTimeout(() => {
        if (!closing.delete(id)) return;
        void client.DELETE("/v1/vaults/{vault}/files/{session}", { params: { path: { vault, session: id }, header: once() } });
      }, 1_000);
    };
  }, [vault, id]);
  return opened;
}
const closing = new Set<string>();

export default function Files() {
  const { vault = "", item = "", point = "" } = useParams();
  const held = useQuery(itemQuery(vault, item));
  const [search] = useSearchParams();
  const fromCopy = search.get("from") === "copy";
  const asked = useQuery({
    queryKey: ["point", vault, item, point],
    queryFn: () => take(client.GET("/v1/vaults/{vault}/items/{item}/points/{point}", { params: { path: { vault, item, point } } })),
    enabled: !fromCopy,
  });
  const copies = useQuery({ ...copiesOf(vault, item), enabled: fromCopy });
  // The vault may have no such point any more.
  const taken = fromCopy ? copies.data?.find((copy) => copy.point === point)?.taken : asked.data?.taken;
  const opened = useSession(vault, item, point, fromCopy);
  const name = held.data?.name ?? "Machine";
  return (
    <Page
      title={`Files of ${name}`}
      above={[["Machines", "/machines"], [name, `/vaults/${vault}/items/${item}${fromCopy ? "" : `?point=${point}`}`]]}
      about={taken && `As they were on ${instant(taken)}${fromCopy ? ", out of the second store" : ""}. Nothing here changes the point or the machine.`}
    >
      {opened.error && <Trouble error={opened.error} again={() => void opened.refetch()} />}
      {opened.isPending && <Spinner className="loading" label="Opening the point's disks" />}
      {opened.data && <Browser session={opened.data} />}
    </Page>
  );
}

function Browser({ session }: { session: FilesSession }) {
  const [search, setSearch] = useSearchParams();
  const kept: Record<string, string> = session.from_copy ? { from: "copy" } : {};
  const place = search.get("place") ?? "";
  const wanted = search.get("find") ?? "";
  const [text, setText] = useState(wanted);
  const downloads = useDownloads(session);
  const volumes = useQuery({
    queryKey: ["volumes", session.id],
    staleTime: Infinity,
    queryFn: () =>
      take(client.GET("/v1/vaults/{vault}/files/{session}/volumes", { params: { path: { vault: session.vault, session: session.id } } })),
  });
  const go = (to: string) => {
    setText("");
    setSearch({ ...kept, ...(to ? { place: to } : {}) });
  };
  return (
    <>
      <div className="filters">
        <Path place={place} go={go} />
        <div className="grow" />
        <form
          onSubmit={(event) => {
            event.preventDefault();
            setSearch(text ? { ...kept, place, find: text } : { ...kept, place });
          }}
        >
          <SearchBox
            className="search"
            value={text}
            placeholder={place ? "Find below this folder: *.conf" : "Find a file: *.conf"}
            aria-label="Find files by name"
            onChange={(_, data) => setText(data.value)}
          />
        </form>
      </div>
      {volumes.error && <Trouble error={volumes.error} again={() => void volumes.refetch()} />}
      {wanted ? (
        <Found key={wanted + place} session={session} place={place} name={wanted} go={go} downloads={downloads} />
      ) : place ? (
        <Folder session={session} place={place} go={go} downloads={downloads} />
      ) : volumes.data ? (
        <Volumes volumes={volumes.data.items} go={go} />
      ) : (
        !volumes.error && <Spinner className="loading" label="Looking for file systems" />
      )}
      <Downloads of={downloads} />
    </>
  );
}

function Path({ place, go }: { place: string; go: (to: string) => void }) {
  const [volume = "", path = ""] = place ? split(place) : [];
  const parts = path.split("/").filter(Boolean);
  return (
    <Breadcrumb aria-label="Folder">
      <BreadcrumbItem>
        <BreadcrumbButton current={!place} onClick={() => go("")}>
          Volumes
        </BreadcrumbButton>
      </BreadcrumbItem>
      {place && (
        <>
          <BreadcrumbDivider />
          <BreadcrumbItem>
            <BreadcrumbButton current={parts.length === 0} onClick={() => go(`${volume}:/`)}>
              {volume}
            </BreadcrumbButton>
          </BreadcrumbItem>
        </>
      )}
      {parts.map((part, index) => (
        <Fragment key={index}>
          <BreadcrumbDivider />
          <BreadcrumbItem>
            <BreadcrumbButton current={index === parts.length - 1} onClick={() => go(`${volume}:/${parts.slice(0, index + 1).join("/")}`)}>
              {part}
            </BreadcrumbButton>
          </BreadcrumbItem>
        </Fragment>
      ))}
    </Breadcrumb>
  );
}

function split(place: string): [string, string] {
  const colon = place.indexOf(":");
  return [place.slice(0, colon), place.slice(colon + 1)];
}

function Volumes({ volumes, go }: { volumes: FilesRegion[]; go: (to: string) => void }) {
  if (volumes.length === 0) {
    return <Empty title="No file system was found">The disks of this point are empty, or hold something that is not read here.</Empty>;
  }
  return (
    <div className="table-scroll">
      <table className="table">
        <thead>
          <tr>
            <th>Volume</th>
            <th>Holds</th>
            <th>Label</th>
            <th className="end">Size</th>
          </tr>
        </thead>
        <tbody>
          {volumes.map((volume) => (
            <tr key={volume.name}>
              <td>
                {volume.readable ? (
                  <button type="button" className="file" onClick={() => go(`${volume.name}:/`)}>
                    <HardDriveRegular aria-hidden />
                    {volume.name}
                  </button>
                ) : (
                  <span className="faint">{volume.name}</span>
                )}
              </td>
              <td>
                {volume.content} {volume.remark && <span className="faint">{volume.remark}</span>}
              </td>
              <td>{volume.label}</td>
              <td className="end">{size(volume.size_bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface FolderProps {
  session: FilesSession;
  place: string;
  go: (to: string) => void;
  downloads: ReturnType<typeof useDownloads>;
}

function Folder({ session, place, go, downloads }: FolderProps) {
  const list = useInfiniteQuery({
    queryKey: ["entries", session.id, place],
    staleTime: Infinity,
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) =>
      take(
        client.GET("/v1/vaults/{vault}/files/{session}/entries", {
          params: {
            path: { vault: session.vault, session: session.id },
            query: { place, after: pageParam === undefined ? undefined : Number(pageParam), limit: PAGE },
          },
        }),
      ),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (list.error) return <Trouble error={list.error} again={() => void list.refetch()} />;
  if (!list.data) return <Spinner className="loading" label="Reading the folder" />;
  const entries = list.data.pages.flatMap((page) => page.items);
  const inside = (name: string) => (place.endsWith("/") ? place + name : `${place}/${name}`);
  return (
    <>
      <div className="filters">
        <span className="faint grow">
          {entries.length === 0 ? "The folder is empty." : `${entries.length}${list.hasNextPage ? " or more" : ""} entries`}
        </span>
        <Button icon={<ArrowDownloadRegular />} onClick={() => downloads.begin(place, "zip")}>
          Download this folder as zip
        </Button>
      </div>
      {entries.length > 0 && <Entries entries={entries} inside={inside} go={go} downloads={downloads} />}
      {list.hasNextPage && (
        <Button onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage}>
          {list.isFetchingNextPage ? "Reading..." : "Show more"}
        </Button>
      )}
    </>
  );
}

interface EntriesProps {
  entries: FilesEntry[];
  inside: (name: string) => string;
  go: (to: string) => void;
  downloads: ReturnType<typeof useDownloads>;
}

export function Entries({ entries, inside, go, downloads }: EntriesProps) {
  return (
    <div className="table-scroll">
      <table className="table files-table">
        <thead>
          <tr>
            <th>Name</th>
            <th className="end">Size</th>
            <th className="wide">Changed</th>
            <th className="wide">Mode</th>
            <th aria-label="Download" />
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <Entry key={entry.name} entry={entry} at={inside(entry.name)} go={go} downloads={downloads} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Entry({ entry, at, go, downloads }: { entry: FilesEntry; at: string; go: (to: string) => void; downloads: EntriesProps["downloads"] }) {
  const folder = entry.kind === "folder";
  const file = entry.kind === "file";
  return (
    <tr>
      <td>
        {folder ? (
          <button type="button" className="file" onClick={() => go(at)}>
            <FolderRegular aria-hidden />
            {entry.name}
          </button>
        ) : (
          <span className="file">
            {entry.kind === "link" ? <LinkRegular aria-hidden /> : <DocumentRegular aria-hidden />}
            {entry.name}
            {entry.target && <span className="faint"> → {entry.target}</span>}
            {entry.error && <span className="bad-text"> {entry.error}</span>}
          </span>
        )}
      </td>
      <td className="end">{file && entry.size != null ? size(entry.size) : ""}</td>
      <td className="wide">{entry.modified ? instant(entry.modified) : ""}</td>
      <td className="wide">
        <code>{entry.mode ?? ""}</code>
      </td>
      <td className="end">
        {(file || folder) && !entry.error && (
          <Button
            size="small"
            appearance="subtle"
            icon={<ArrowDownloadRegular />}
            aria-label={`Download ${entry.name}${folder ? " as zip" : ""}`}
            onClick={() => downloads.begin(at, folder ? "zip" : "content", entry.size ?? undefined)}
          />
        )}
      </td>
    </tr>
  );
}
