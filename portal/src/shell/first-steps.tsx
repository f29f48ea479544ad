// What a new server lacks, step by step: gone once a machine is protected.
import { Button } from "@fluentui/react-components";
import { CheckmarkCircle24Filled, Circle24Regular } from "../icons";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { may } from "../access";
import { hosts, overview, useMe, vaults } from "../api/queries";

export function FirstSteps() {
  const me = useMe();
  const known = useQuery(hosts);
  const places = useQuery(vaults);
  const now = useQuery(overview);
  const navigate = useNavigate();
  if (!known.data || !places.data || !now.data) return null;
  const held = Object.values(now.data.items).some((many) => many > 0);
  if (held || !may(me, "RegisterHost", null) || !may(me, "CreateVault", null)) return null;
  const steps = [
    { done: known.data.length > 0, to: "/hosts?add", name: "Add a host", text: "Its machines are then found by themselves." },
    { done: places.data.length > 0, to: "/vaults/new", name: "Make a vault", text: "It keeps the recovery points, encrypted, in a folder or a bucket." },
    { done: false, to: "/protect", name: "Protect machines", text: "Choose machines and a policy: when they are backed up, and for how long points stay." },
  ];
  const next = steps.findIndex((step) => !step.done);
  return (
    <section className="section steps" aria-label="First steps">
      <h2>First steps</h2>
      <ol>
        {steps.map((step, index) => (
          <li key={step.to} className={step.done ? "done" : undefined}>
            {step.done ? <CheckmarkCircle24Filled aria-label="Done" /> : <Circle24Regular aria-hidden />}
            <div className="grow">
              <strong>{step.name}</strong>
              <p className="faint">{step.text}</p>
            </div>
            {!step.done && (
              <Button appearance={index === next ? "primary" : "secondary"} disabled={index > next} onClick={() => void navigate(step.to)}>
                {step.name}
              </Button>
            )}
          </li>
        ))}
      </ol>
    </section>
  );
}
