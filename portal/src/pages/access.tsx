// People and services, and what they may do.
import { ROLE_MEANS, ROLE_WORDS } from "../access";
import type { Role } from "../api/types";
import { Page, Section } from "../parts/page";
import { People } from "./access/people";

export default function Access() {
  return (
    <Page title="Access" about="Roles hold in one vault or everywhere. Who comes by single sign-on has the roles of their groups there.">
      <People />
      <Section title="What roles mean">
        <ul className="rows">
          {(Object.keys(ROLE_WORDS) as Role[]).map((role) => (
            <li key={role}>
              <span className="row-name strong">{ROLE_WORDS[role]}</span>
              <span className="faint row-end">{ROLE_MEANS[role]}</span>
            </li>
          ))}
        </ul>
      </Section>
    </Page>
  );
}
