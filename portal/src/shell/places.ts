// Where one can go. A page that has something to show stands here; what somebody may not do is left out.
import {
  AlertFilled,
  AlertRegular,
  BoxFilled,
  BoxRegular,
  CameraFilled,
  CameraRegular,
  ClipboardTaskFilled,
  ClipboardTaskRegular,
  CopyFilled,
  CopyRegular,
  DataBarVerticalFilled,
  DataBarVerticalRegular,
  DesktopFilled,
  DesktopRegular,
  DocumentBulletListFilled,
  DocumentBulletListRegular,
  HomeFilled,
  HomeRegular,
  HistoryFilled,
  HistoryRegular,
  MoneyFilled,
  MoneyRegular,
  PeopleFilled,
  PeopleRegular,
  ServerFilled,
  ServerRegular,
} from "../icons";
import type { Action } from "../access";

export interface Place {
  group: "Look" | "Manage" | "Understand";
  to: string;
  name: string;
  Icon: typeof HomeRegular;
  Active: typeof HomeRegular;
  needs?: Action;
  /** The role must hold everywhere, not in some vault. */
  everywhere?: boolean;
}

export const PLACES: Place[] = [
  { group: "Look", to: "/", name: "Overview", Icon: HomeRegular, Active: HomeFilled },
  { group: "Look", to: "/machines", name: "Machines", Icon: DesktopRegular, Active: DesktopFilled },
  { group: "Look", to: "/snapshots", name: "Snapshots", Icon: CameraRegular, Active: CameraFilled },
  { group: "Look", to: "/jobs", name: "Jobs", Icon: ClipboardTaskRegular, Active: ClipboardTaskFilled },
  { group: "Look", to: "/alerts", name: "Alerts", Icon: AlertRegular, Active: AlertFilled },
  { group: "Manage", to: "/vaults", name: "Vaults", Icon: BoxRegular, Active: BoxFilled },
  { group: "Manage", to: "/policies", name: "Policies", Icon: DocumentBulletListRegular, Active: DocumentBulletListFilled },
  { group: "Manage", to: "/images", name: "Images", Icon: CopyRegular, Active: CopyFilled },
  { group: "Manage", to: "/hosts", name: "Hosts", Icon: ServerRegular, Active: ServerFilled },
  { group: "Manage", to: "/access", name: "Access", Icon: PeopleRegular, Active: PeopleFilled, needs: "GrantAccess", everywhere: true },
  { group: "Understand", to: "/reports", name: "Reports", Icon: DataBarVerticalRegular, Active: DataBarVerticalFilled },
  { group: "Understand", to: "/costs", name: "Costs", Icon: MoneyRegular, Active: MoneyFilled },
  { group: "Understand", to: "/audit", name: "Audit", Icon: HistoryRegular, Active: HistoryFilled, needs: "ViewAudit", everywhere: true },
];

/** Which of them an address belongs to: a machine is one also where its address says in which vault it is. */
export function placeOf(path: string): string {
  if (/^\/vaults\/[^/]+\/items\//.test(path) || path === "/protect" || path === "/restore-many") return "/machines";
  if (/^\/vaults\/[^/]+\/restore-sets\//.test(path) || path === "/restore-sets") return "/jobs";
  if (/^\/vaults\/[^/]+\/snapshots\//.test(path)) return "/snapshots";
  if (/^\/vaults\/[^/]+\/policies\//.test(path)) return "/policies";
  return `/${path.split("/")[1] ?? ""}`;
}
