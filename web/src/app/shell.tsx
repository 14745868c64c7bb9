/** The frame around every screen: where one is, where one can go, who is signed in. */

import { ActionIcon, AppShell, Box, Burger, Group, Menu, NavLink, ScrollArea, Text, Tooltip, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Suspense, useEffect } from "react";
import { BASE } from "../api/client";
import { jobs } from "../api/queries";
import { Icon, type IconName } from "../parts/icons";
import mark from "./mark.svg";
import { useKey, useSignOut } from "./session";

const PLACES: { to: string; label: string; icon: IconName }[] = [
  { to: "/", label: "Home", icon: "home" },
  { to: "/jobs", label: "Jobs", icon: "jobs" },
  { to: "/templates", label: "Templates", icon: "templates" },
  { to: "/mixtures", label: "Mixtures", icon: "mixture" },
  { to: "/evaluations", label: "Evaluations", icon: "chart" },
  { to: "/models", label: "Models", icon: "model" },
  { to: "/playground", label: "Playground", icon: "chat" },
  { to: "/settings", label: "Settings", icon: "settings" },
];

export function Shell() {
  const [isOpen, { toggle, close }] = useDisclosure(false);
  const { pathname } = useLocation();
  useEffect(() => {
    close();
    const place = PLACES.findLast(({ to }) => isAt(pathname, to));
    document.title = place === undefined ? "FLAN" : `${place.label} · FLAN`;
  }, [pathname, close]);
  return (
    <AppShell
      header={{ height: 52, collapsed: false }}
      navbar={{ width: 208, breakpoint: "sm", collapsed: { mobile: !isOpen } }}
      padding={0}
    >
      <a className="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>
        Skip to content
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={isOpen} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={isOpen ? "Close the menu" : "Open the menu"} />
            <Link to="/" className="row-link">
              <Group gap={10} wrap="nowrap">
                <img src={mark} alt="" width={26} height={26} />
                <Text fw={700} size="md">FLAN</Text>
              </Group>
            </Link>
          </Group>
          <Group gap={4} wrap="nowrap">
            <SchemeSwitch />
            <Account />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" component="nav" aria-label="Screens">
        <AppShell.Section grow component={ScrollArea}>
          {PLACES.map(({ to, label, icon }) => (
            <NavLink
              key={to}
              renderRoot={(props) => <Link to={to} {...props} />}
              label={label}
              leftSection={<Icon name={icon} />}
              active={isAt(pathname, to)}
              aria-current={isAt(pathname, to) ? "page" : undefined}
              rightSection={to === "/jobs" ? <Running /> : undefined}
              styles={{ root: { borderRadius: 8, marginBottom: 2 } }}
            />
          ))}
        </AppShell.Section>
        <AppShell.Section>
          <NavLink href={`${BASE}/docs`} label="API reference" leftSection={<Icon name="code" />} styles={{ root: { borderRadius: 8 } }} />
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main>
        <Box id="main" tabIndex={-1} px={{ base: "md", md: "xl" }} py="lg" maw={1680} style={{ outline: "none" }}>
          <Suspense fallback={null}>
            <Outlet />
          </Suspense>
        </Box>
      </AppShell.Main>
    </AppShell>
  );
}

function isAt(pathname: string, to: string): boolean {
  return to === "/" ? pathname === "/" : pathname === to || pathname.startsWith(`${to}/`);
}

/** How many jobs run now. */
function Running() {
  const { data } = useQuery(jobs({ state: "running", limit: 100 }));
  const count = data?.data.length ?? 0;
  return count === 0 ? null : (
    <Text component="span" size="xs" fw={600} className="figures" aria-label={`${count} running`}>
      {count}{data?.has_more === true ? "+" : ""}
    </Text>
  );
}

function SchemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const next = { auto: "light", light: "dark", dark: "auto" } as const;
  const said = { auto: "Colours of the system", light: "Light colours", dark: "Dark colours" }[colorScheme];
  const icon = { auto: "half", light: "sun", dark: "moon" } as const;
  return (
    <Tooltip label={`${said}: press for ${next[colorScheme] === "auto" ? "the system's" : next[colorScheme]}`}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={said} onClick={() => setColorScheme(next[colorScheme])}>
        <Icon name={icon[colorScheme]} />
      </ActionIcon>
    </Tooltip>
  );
}

function Account() {
  const key = useKey();
  const signOut = useSignOut();
  return (
    <Menu>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`Signed in with the key ${key.name}`}>
          <Icon name="key" />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          Key “{key.name}” <span className="mono">{key.id}</span>
          <br />
          {key.scopes.join(", ")}
        </Menu.Label>
        <Menu.Item onClick={signOut}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
