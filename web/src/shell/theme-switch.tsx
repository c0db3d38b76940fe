import { ActionIcon, Tooltip, useMantineColorScheme } from '@mantine/core';
import { IconDeviceDesktop, IconMoon, IconSun } from '@tabler/icons-react';

const order = ['auto', 'light', 'dark'] as const;
const looks = {
  auto: { icon: IconDeviceDesktop, text: 'as the system' },
  light: { icon: IconSun, text: 'light' },
  dark: { icon: IconMoon, text: 'dark' },
};

/** One button through auto, light and dark. */
export function ThemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const { icon: Icon, text } = looks[colorScheme];
  const next = order[(order.indexOf(colorScheme) + 1) % order.length] ?? 'auto';
  const label = `Theme: ${text}. Switch to ${looks[next].text}`;
  return (
    <Tooltip label={label}>
      <ActionIcon
        size="lg"
        variant="subtle"
        color="gray"
        c="var(--mantine-color-text)"
        aria-label={label}
        onClick={() => setColorScheme(next)}
      >
        <Icon size={20} aria-hidden="true" />
      </ActionIcon>
    </Tooltip>
  );
}
