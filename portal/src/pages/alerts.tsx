// What somebody should know, and whether somebody does.
import { Button, Switch } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { may } from "../access";
import { client, once, take } from "../api/client";
import { alerts, useMe } from "../api/queries";
import type { Alert } from "../api/types";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { State } from "../parts/state";
import { When } from "../parts/when";
import { type Tone, word } from "../words";

const SEVERITY: Record<Alert["severity"], [string, Tone]> = {
  critical: ["Critical", "bad"],
  error: ["Error", "bad"],
  warning: ["Warning", "warn"],
  informational: ["For information", "quiet"],
};
const ORDER: Alert["severity"][] = ["critical", "error", "warning", "informational"];

export default function Alerts() {
  const me = useMe();
  const [all, setAll] = useState(false);
  const list = useQuery(alerts(all));
  const note = useAct({
    does: (alert: Alert) => take(client.POST("/v1/alerts/{alert}/acknowledge", { params: { path: { alert: alert.id }, header: once() } })),
    told: () => ({ title: "Noted: others see that somebody knows" }),
    changes: ["alerts", "overview"],
  });
  return (
    <Page title="Alerts" actions={<Switch label="Also those that are over" checked={all} onChange={(_, data) => setAll(data.checked)} />}>
      <Loaded query={list} what="alerts">
        {(found) =>
          found.length === 0 ? (
            <Empty title={all ? "There was no alert yet" : "No alert is open"}>
              Backups that fail, machines that are gone, stores that are full: what somebody should know stands here, and goes
              by itself when it is over.
            </Empty>
          ) : (
            <ul className="alerts">
              {[...found].sort(urgent).map((alert) => (
                <li key={alert.id} className={`alert alert-${SEVERITY[alert.severity][1]}`}>
                  <div className="alert-head">
                    <State of={alert.resolved ? [`Over (${SEVERITY[alert.severity][0].toLowerCase()})`, "quiet"] : SEVERITY[alert.severity]} />
                    <strong>{word(alert.category)}</strong>
                    <span className="grow" />
                    <span className="faint">
                      <When at={alert.raised} />
                      {alert.resolved && (
                        <>
                          , over <When at={alert.resolved} />
                        </>
                      )}
                    </span>
                  </div>
                  <p>{alert.text}</p>
                  <div className="alert-foot">
                    {alert.acknowledged_by ? (
                      <span className="faint">{alert.acknowledged_by} knows of it</span>
                    ) : (
                      !alert.resolved &&
                      may(me, "BackUp", "any") && (
                        <Button size="small" disabled={note.isPending} onClick={() => note.mutate(alert)}>
                          I know of it
                        </Button>
                      )
                    )}
                  </div>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Page>
  );
}

/** Open before over, worse before better, newest first. */
function urgent(a: Alert, b: Alert): number {
  const over = Number(Boolean(a.resolved)) - Number(Boolean(b.resolved));
  return over || ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity) || b.raised.localeCompare(a.raised);
}
