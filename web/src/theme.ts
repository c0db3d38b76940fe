import {
  type CSSVariablesResolver,
  createTheme,
  localStorageColorSchemeManager,
  type MantineColorsTuple,
} from '@mantine/core';

const harbor: MantineColorsTuple = [
  '#e8f5f9',
  '#d0e8f0',
  '#a1d1e1',
  '#70b9d2',
  '#4ba5c4',
  '#2f97bb',
  '#158ab0',
  '#0b7799',
  '#066783',
  '#00546d',
];

const deep: MantineColorsTuple = [
  '#c6d0d9',
  '#b3bfca',
  '#95a4b2',
  '#65768a',
  '#405061',
  '#2d3b4a',
  '#1f2a36',
  '#151e28',
  '#101820',
  '#0a1017',
];

/** The `<header>` of a dialog would count as a second banner of the page. */
const plainHeader = { header: { role: 'none' } };

export const theme = createTheme({
  primaryColor: 'harbor',
  primaryShade: { light: 8, dark: 7 },
  colors: { harbor, dark: deep },
  autoContrast: true,
  luminanceThreshold: 0.3,
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamily:
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", Menlo, monospace',
  headings: { fontWeight: '650' },
  focusRing: 'auto',
  components: {
    Loader: { defaultProps: { role: 'status' } },
    Modal: { defaultProps: { attributes: plainHeader }, styles: { title: { fontWeight: 650, fontSize: 18 } } },
    Drawer: {
      defaultProps: { attributes: plainHeader },
      styles: { title: { fontWeight: 650, fontSize: 18, overflowWrap: 'anywhere' } },
    },
    Notification: {
      defaultProps: { withBorder: true, closeButtonProps: { 'aria-label': 'Dismiss' } },
      styles: { description: { color: 'var(--mantine-color-dimmed)' } },
    },
  },
});

export const themeStorage = localStorageColorSchemeManager({ key: 'hawser-theme' });

/** Mantine's dimmed, placeholder and error colours miss 4.5:1 on our surfaces; these have it. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-body': '#f7f9fb',
    '--mantine-color-text': '#17222c',
    '--mantine-color-dimmed': '#51606e',
    '--mantine-color-placeholder': '#5c6a77',
    '--mantine-color-error': '#b42318',
    '--mantine-color-anchor': '#066783',
    '--h-surface': '#ffffff',
    '--h-line': '#dde4ea',
    '--h-quiet': '#eef2f6',
    '--h-data': '#0b7799',
    '--h-zero': '#e0a53a',
    '--h-missing': '#d5dde4',
    '--h-good': '#0f6b3c',
    '--h-good-soft': '#e2f4ea',
    '--h-busy': '#075a74',
    '--h-busy-soft': '#dff1f7',
    '--h-wait': '#7a4a00',
    '--h-wait-soft': '#fdf0d5',
    '--h-bad': '#a61b12',
    '--h-bad-soft': '#fde8e6',
    '--h-plain': '#46535f',
    '--h-plain-soft': '#e9eef2',
  },
  dark: {
    '--mantine-color-body': '#0f161e',
    '--mantine-color-text': '#e4ebf1',
    '--mantine-color-dimmed': '#9fb0bf',
    '--mantine-color-placeholder': '#8c9dac',
    '--mantine-color-error': '#ff9389',
    '--mantine-color-anchor': '#70c4de',
    '--h-surface': '#17212b',
    '--h-line': '#2a3846',
    '--h-quiet': '#1d2935',
    '--h-data': '#4ba5c4',
    '--h-zero': '#d9a441',
    '--h-missing': '#34434f',
    '--h-good': '#6fdba2',
    '--h-good-soft': '#14372a',
    '--h-busy': '#7cd0ea',
    '--h-busy-soft': '#103545',
    '--h-wait': '#f3c26b',
    '--h-wait-soft': '#3a2d12',
    '--h-bad': '#ff9d94',
    '--h-bad-soft': '#43201d',
    '--h-plain': '#b6c4d0',
    '--h-plain-soft': '#263340',
  },
});
