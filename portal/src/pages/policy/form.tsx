// When machines are backed up, and how long their points stay.
import { Checkbox, Field, Input, Radio, RadioGroup, Select } from "@fluentui/react-components";
import { useState } from "react";
import type { PolicyDocument } from "../../api/types";
import { WEEKDAYS, word } from "../../words";
import { type Frequency, withFrequency, withMonths, withWeekdays, withWeeks, withYears } from "./document";

interface Props {
  document: PolicyDocument;
  change: (document: PolicyDocument) => void;
  hasSnapshots: boolean;
}

export function PolicyForm({ document, change, hasSnapshots }: Props) {
  const { schedule, vault } = document;
  return (
    <div className="stack form">
      <Field label="How often">
        <RadioGroup
          layout="horizontal"
          value={schedule.frequency}
          onChange={(_, data) => change(withFrequency(document, data.value as Frequency))}
        >
          <Radio value="daily" label="Every day" />
          <Radio value="weekly" label="On some weekdays" />
          <Radio value="hourly" label="Several times a day" />
        </RadioGroup>
      </Field>
      <When document={document} change={change} />
      <fieldset>
        <legend>How long points stay in the vault</legend>
        <div className="form-row">
          {schedule.frequency !== "weekly" && (
            <Number label="Days" value={vault.daily?.keep_days ?? 0} least={7} most={9999} set={(keep_days) => change({ ...document, vault: { ...vault, daily: { keep_days } } })} />
          )}
          <Number
            label="Weeks"
            value={vault.weekly?.keep_weeks ?? 0}
            least={schedule.frequency === "weekly" ? 1 : 0}
            most={5163}
            set={(weeks) => change(withWeeks(document, weeks))}
          />
          <Number label="Months" value={vault.monthly?.keep_months ?? 0} least={0} most={1188} set={(months) => change(withMonths(document, months))} />
          <Number label="Years" value={vault.yearly?.keep_years ?? 0} least={0} most={99} set={(years) => change(withYears(document, years))} />
        </div>
        <p className="faint">
          A point stays as long as the longest of these says that its day belongs to. 0: no such rule. The newest point of a
          machine never expires.
        </p>
      </fieldset>
      {hasSnapshots && (
        <Number
          label="Days in the snapshot tier, beside the hosts"
          value={document.snapshot_days}
          least={1}
          most={30}
          set={(snapshot_days) => change({ ...document, snapshot_days })}
        />
      )}
      <Field label="What to ask of the guest" hint="A guest that cannot do better gives less, and the point says so.">
        <Select
          value={document.consistency ?? "application"}
          onChange={(_, data) => change({ ...document, consistency: data.value as PolicyDocument["consistency"] })}
        >
          <option value="application">Applications take part</option>
          <option value="file_system">File systems at rest</option>
          <option value="crash">Nothing: as after a power cut</option>
        </Select>
      </Field>
    </div>
  );
}

function When({ document, change }: Omit<Props, "hasSnapshots">) {
  const { schedule } = document;
  const zone = (
    <Field label="Time zone">
      <Input list="zones" value={document.time_zone} onChange={(_, data) => change({ ...document, time_zone: data.value })} spellCheck={false} />
      <datalist id="zones">
        {Intl.supportedValuesOf("timeZone").map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </Field>
  );
  if (schedule.frequency === "hourly") {
    return (
      <div className="form-row">
        <Field label="Every">
          <Select value={String(schedule.every_hours)} onChange={(_, data) => change({ ...document, schedule: { ...schedule, every_hours: globalThis.Number(data.value) } })}>
            {[4, 6, 8, 12, 24].map((hours) => (
              <option key={hours} value={hours}>
                {hours} hours
              </option>
            ))}
          </Select>
        </Field>
        <Field label="From">
          <Input type="time" max="19:30" value={schedule.window_start} onChange={(_, data) => change({ ...document, schedule: { ...schedule, window_start: data.value } })} />
        </Field>
        <Number label="For hours" value={schedule.window_hours} least={4} most={24} set={(window_hours) => change({ ...document, schedule: { ...schedule, window_hours } })} />
        {zone}
      </div>
    );
  }
  return (
    <>
      {schedule.frequency === "weekly" && (
        <fieldset className="weekdays">
          <legend>On</legend>
          {WEEKDAYS.map((day) => (
            <Checkbox
              key={day}
              label={word(day)}
              checked={schedule.weekdays.includes(day)}
              onChange={(_, data) =>
                change(withWeekdays(document, data.checked ? [...schedule.weekdays, day] : schedule.weekdays.filter((one) => one !== day)))
              }
            />
          ))}
        </fieldset>
      )}
      <div className="form-row">
        <Field label="At">
          <Input type="time" value={schedule.time} onChange={(_, data) => change({ ...document, schedule: { ...schedule, time: data.value } })} />
        </Field>
        {zone}
      </div>
    </>
  );
}

interface NumberProps {
  label: string;
  value: number;
  least: number;
  most: number;
  set: (value: number) => void;
}

/** A whole number: what is being typed stays shown, what is one is taken. */
function Number({ label, value, least, most, set }: NumberProps) {
  const [text, setText] = useState<string | null>(null);
  const typed = text ?? String(value);
  const parsed = /^\d+$/.test(typed) ? globalThis.Number(typed) : NaN;
  const good = parsed >= least && parsed <= most;
  return (
    <Field label={label} validationState={good ? "none" : "error"} validationMessage={good ? undefined : `${least} to ${most}`}>
      <Input
        className="number"
        inputMode="numeric"
        value={typed}
        onChange={(_, data) => {
          setText(data.value);
          const next = /^\d+$/.test(data.value) ? globalThis.Number(data.value) : NaN;
          if (next >= least && next <= most) set(next);
        }}
        onBlur={() => setText(null)}
      />
    </Field>
  );
}
