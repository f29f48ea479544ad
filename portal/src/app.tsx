// Which address is which page. Pages are loaded when they are first looked at.
import { FluentProvider, Spinner, Toaster } from "@fluentui/react-components";
import { lazy, Suspense, useSyncExternalStore } from "react";
import { Navigate, Route, Routes, useLocation } from "react-router";
import { queries } from "./api/queries";
import { subscribe, token } from "./api/session";
import { Defect } from "./parts/defect";
import { TOASTER } from "./parts/done";
import { Frame } from "./shell/frame";
import { dark, light, useTheme } from "./theme";

const SignIn = lazy(() => import("./pages/sign-in"));
const Overview = lazy(() => import("./pages/overview"));
const Machines = lazy(() => import("./pages/machines"));
const Machine = lazy(() => import("./pages/machine"));
const Hosts = lazy(() => import("./pages/hosts"));
const Protect = lazy(() => import("./pages/protect"));
const Restore = lazy(() => import("./pages/restore"));
const Files = lazy(() => import("./pages/files"));
const Jobs = lazy(() => import("./pages/jobs"));
const Job = lazy(() => import("./pages/job"));
const RestoreMany = lazy(() => import("./pages/restore-many"));
const RestoreSet = lazy(() => import("./pages/restore-set"));
const RestoreSets = lazy(() => import("./pages/restore-sets"));
const Snapshots = lazy(() => import("./pages/snapshots"));
const NewSnapshot = lazy(() => import("./pages/new-snapshot"));
const Snapshot = lazy(() => import("./pages/snapshot"));
const Vaults = lazy(() => import("./pages/vaults"));
const Vault = lazy(() => import("./pages/vault"));
const NewVault = lazy(() => import("./pages/new-vault"));
const Policies = lazy(() => import("./pages/policies"));
const Policy = lazy(() => import("./pages/policy"));
const Images = lazy(() => import("./pages/images"));
const Alerts = lazy(() => import("./pages/alerts"));
const Audit = lazy(() => import("./pages/audit"));
const Reports = lazy(() => import("./pages/reports"));
const Costs = lazy(() => import("./pages/costs"));
const Access = lazy(() => import("./pages/access"));
const Nowhere = lazy(() => import("./pages/nowhere"));

export function App() {
  const theme = useTheme();
  return (
    <FluentProvider theme={theme.isDark ? dark : light}>
      <div className="app">
        <Suspense fallback={<Spinner className="whole" label="Loading" />}>
          <Pages theme={theme} />
        </Suspense>
      </div>
      <Toaster toasterId={TOASTER} position="bottom-end" />
    </FluentProvider>
  );
}

function Pages({ theme }: { theme: ReturnType<typeof useTheme> }) {
  const shown = useSyncExternalStore(subscribe, token);
  const location = useLocation();
  if (location.pathname === "/sign-in") return <SignIn />;
  if (!shown) {
    queries.clear();
    const from = location.pathname + location.search;
    return <Navigate to={from === "/" ? "/sign-in" : `/sign-in?to=${encodeURIComponent(from)}`} replace />;
  }
  return (
    <Frame theme={theme}>
      <Defect key={location.pathname}>
        <Suspense fallback={<Spinner className="whole" label="Loading" />}>
          <Routes>
            <Route path="/" element={<Overview />} />
            <Route path="/machines" element={<Machines />} />
            <Route path="/machines/:machine" element={<Machine />} />
            <Route path="/hosts" element={<Hosts />} />
            <Route path="/protect" element={<Protect />} />
            <Route path="/vaults" element={<Vaults />} />
            <Route path="/vaults/new" element={<NewVault />} />
            <Route path="/vaults/:vault" element={<Vault />} />
            <Route path="/vaults/:vault/items/:item" element={<Machine />} />
            <Route path="/vaults/:vault/items/:item/restore" element={<Restore />} />
            <Route path="/vaults/:vault/items/:item/points/:point/files" element={<Files />} />
            <Route path="/vaults/:vault/restore-sets/:set" element={<RestoreSet />} />
            <Route path="/vaults/:vault/snapshots/:snapshot" element={<Snapshot />} />
            <Route path="/vaults/:vault/policies/:policy" element={<Policy />} />
            <Route path="/policies" element={<Policies />} />
            <Route path="/restore-many" element={<RestoreMany />} />
            <Route path="/restore-sets" element={<RestoreSets />} />
            <Route path="/snapshots" element={<Snapshots />} />
            <Route path="/snapshots/new" element={<NewSnapshot />} />
            <Route path="/images" element={<Images />} />
            <Route path="/jobs" element={<Jobs />} />
            <Route path="/jobs/:job" element={<Job />} />
            <Route path="/alerts" element={<Alerts />} />
            <Route path="/audit" element={<Audit />} />
            <Route path="/reports" element={<Reports />} />
            <Route path="/costs" element={<Costs />} />
            <Route path="/access" element={<Access />} />
            <Route path="*" element={<Nowhere />} />
          </Routes>
        </Suspense>
      </Defect>
    </Frame>
  );
}
