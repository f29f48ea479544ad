// What is around every page: where one is, where one can go, who is signed in.
import {
  Button,
  CounterBadge,
  Menu,
  MenuDivider,
  MenuGroup,
  MenuGroupHeader,
  MenuItem,
  MenuItemRadio,
  MenuList,
  MenuPopover,
  MenuTrigger,
  Text,
} from "@fluentui/react-components";
import { NavigationRegular, PersonCircleRegular } from "../icons";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Link, useLocation } from "react-router";
import { may } from "../access";
import { client } from "../api/client";
import { me as meQuery, overview, version } from "../api/queries";
import { signedOut } from "../api/session";
import mark from "../mark.svg";
import type { Choice, useTheme } from "../theme";
import { zone } from "../words";
import { useLive } from "./live";
import { type Place, placeOf, PLACES } from "./places";

interface Props {
  theme: ReturnType<typeof useTheme>;
  children: ReactNode;
}

export function Frame({ theme, children }: Props) {
  useLive();
  const [open, setOpen] = useState(false);
  const location = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    setOpen(false);
    // Who goes on by keyboard or is read to begins at the new page, not in the menu again.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
    window.scrollTo(0, 0);
  }, [location.pathname]);
  return (
    <div className="frame" data-menu={open ? "open" : "shut"}>
      <a className="skip" href="#main">
        Go to the page
      </a>
      <header className="top">
        <Button
          className="menu-button"
          appearance="transparent"
          icon={<NavigationRegular />}
          aria-label="Menu"
          aria-expanded={open}
          aria-controls="places"
          onClick={() => setOpen(!open)}
        />
        <Link to="/" className="brand" aria-label="Strongroom, overview">
          <img src={mark} alt="" width="26" height="26" />
          <span>Strongroom</span>
        </Link>
        <div className="grow" />
        <You theme={theme} />
      </header>
      <nav id="places" className="places" aria-label="Pages">
        <Places />
      </nav>
      {open && <div className="veil" onClick={() => setOpen(false)} />}
      <main id="main" className="main" tabIndex={-1} ref={main}>
        {children}
      </main>
    </div>
  );
}

function Places() {
  const me = useQuery(meQuery).data;
  const alerts = useQuery(overview).data?.alerts ?? {};
  const urgent = (alerts["critical"] ?? 0) + (alerts["error"] ?? 0) + (alerts["warning"] ?? 0);
  const groups = [...new Set(PLACES.map((place) => place.group))];
  const here = placeOf(useLocation().pathname);
  const offered = (place: Place) => !place.needs || may(me, place.needs, place.everywhere ? null : "any");
  return groups.map((group) => (
    <ul key={group} aria-label={group}>
      {PLACES.filter((place) => place.group === group && offered(place)).map((place) => (
        <li key={place.to}>
          <Link to={place.to} className={place.to === here ? "active" : undefined} aria-current={place.to === here ? "page" : undefined}>
            <span aria-hidden>{place.to === here ? <place.Active /> : <place.Icon />}</span>
            <span className="grow">{place.name}</span>
            {place.to === "/alerts" && urgent > 0 && (
              <CounterBadge count={urgent} color="danger" size="small" aria-label={`${urgent} open`} />
            )}
          </Link>
        </li>
      ))}
    </ul>
  ));
}

function You({ theme }: { theme: Props["theme"] }) {
  const me = useQuery(meQuery).data;
  const program = useQuery(version).data;
  const leave = () => {
    // The token is forgotten here even if the server does not hear of it; it then ends by itself.
    void client.POST("/v1/logout", {}).finally(() => signedOut());
  };
  return (
    <Menu
      checkedValues={{ theme: [theme.choice] }}
      onCheckedValueChange={(_, { checkedItems }) => theme.choose((checkedItems[0] ?? "system") as Choice)}
    >
      <MenuTrigger disableButtonEnhancement>
        <Button appearance="transparent" className="you" icon={<PersonCircleRegular />} aria-label={`Account of ${me?.name ?? "..."}`}>
          <span className="wide">{me?.name ?? ""}</span>
        </Button>
      </MenuTrigger>
      <MenuPopover>
        <MenuList>
          <MenuGroup>
            <MenuGroupHeader>Colours</MenuGroupHeader>
            <MenuItemRadio name="theme" value="system">As the system</MenuItemRadio>
            <MenuItemRadio name="theme" value="light">Light</MenuItemRadio>
            <MenuItemRadio name="theme" value="dark">Dark</MenuItemRadio>
          </MenuGroup>
          <MenuDivider />
          <MenuItem onClick={leave}>Sign out</MenuItem>
          <MenuDivider />
          <div className="about">
            <Text size={200}>Version {program?.version ?? "..."}</Text>
            <Text size={200}>Times are of {zone()}</Text>
          </div>
        </MenuList>
      </MenuPopover>
    </Menu>
  );
}
