import { AppShell, Burger, Group, Text, VisuallyHidden } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQueryClient } from '@tanstack/react-query';
import { Link, Outlet, useRouterState } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { followEvents } from '../live/live-feed.ts';
import { LiveNote } from '../live/live-note.tsx';
import { PasswordOffer } from '../login/password-offer.tsx';
import { SignInAgain } from '../login/sign-in-again.tsx';
import { Mark } from '../parts/rope.tsx';
import { useNarrow } from '../parts/use-narrow.ts';
import { CreateImage } from '../uploads/create-image.tsx';
import { DropAnywhere } from '../uploads/drop-anywhere.tsx';
import { Tray } from '../uploads/tray.tsx';
import { uploadBoard } from '../uploads/upload-board.ts';
import { SideMenu } from './side-menu.tsx';
import { ThemeSwitch } from './theme-switch.tsx';
import { UserMenu } from './user-menu.tsx';

/** What stays while pages change: menu, header, tray, the drop target and the live feed. */
export function Shell() {
  const [menuOpen, menu] = useDisclosure(false);
  // Off the screen is not enough: its links must not take the focus either.
  const hidden = useNarrow() && !menuOpen;
  const client = useQueryClient();
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const ending = new AbortController();
    followEvents(client, ending.signal);
    return () => ending.abort();
  }, [client]);
  useEffect(() => uploadBoard.attach(client), [client]);
  useFocusOnNewPage(main, menu.close);

  return (
    <>
      <button type="button" className="h-skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <AppShell
        header={{ height: 56 }}
        navbar={{ width: 250, breakpoint: 'sm', collapsed: { mobile: !menuOpen } }}
        padding="md"
      >
        <AppShell.Header bg="var(--h-surface)">
          <Header menuOpen={menuOpen} onToggle={menu.toggle} />
        </AppShell.Header>
        <AppShell.Navbar bg="var(--h-surface)" aria-label="Main" style={hidden ? { visibility: 'hidden' } : undefined}>
          <SideMenu onNavigate={menu.close} />
        </AppShell.Navbar>
        <AppShell.Main ref={main} tabIndex={-1} style={{ outline: 'none' }} pb="calc(var(--h-tray, 0px) + 32px)">
          <Outlet />
        </AppShell.Main>
      </AppShell>
      <Tray />
      <DropAnywhere />
      <CreateImage />
      <PasswordOffer />
      <SignInAgain onDone={() => uploadBoard.goOnAfterLogin()} />
    </>
  );
}

function Header({ menuOpen, onToggle }: { readonly menuOpen: boolean; readonly onToggle: () => void }) {
  return (
    <Group h="100%" px="md" justify="space-between" wrap="nowrap">
      <Group gap="sm" wrap="nowrap">
        <Burger
          opened={menuOpen}
          onClick={onToggle}
          hiddenFrom="sm"
          size="sm"
          aria-label={menuOpen ? 'Close the menu' : 'Open the menu'}
          aria-expanded={menuOpen}
        />
        <Link to="/images" search={{}} style={{ color: 'inherit', textDecoration: 'none' }}>
          <Group gap="xs" wrap="nowrap">
            <Mark />
            <Text fw={700} size="lg">
              Hawser
            </Text>
            <VisuallyHidden>, to the Images</VisuallyHidden>
          </Group>
        </Link>
      </Group>
      <Group gap="xs" wrap="nowrap">
        <LiveNote />
        <ThemeSwitch />
        <UserMenu />
      </Group>
    </Group>
  );
}

/** After navigation the new page has the focus, as after a page load. */
function useFocusOnNewPage(main: React.RefObject<HTMLElement | null>, closeMenu: () => void): void {
  const path = useRouterState({ select: (state) => state.resolvedLocation?.pathname });
  const before = useRef(path);
  useEffect(() => {
    if (before.current !== undefined && before.current !== path) {
      closeMenu();
      main.current?.focus({ preventScroll: true });
    }
    before.current = path;
  }, [path, main, closeMenu]);
}
