import {
  createHashHistory,
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from '@tanstack/react-router';
import { Shell } from './shell/shell.tsx';

/**
 * Pages live behind `#`: the main listener's own paths (`/images`, `/image`, `/tus` …) belong to the
 * doors of foreign protocols, and so a page's address can never collide with one.
 */
const rootRoute = createRootRoute({ component: Shell });

const home = createRoute({
  getParentRoute: () => rootRoute,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/images', search: {} });
  },
});

export interface ImageSearch {
  readonly search?: string | undefined;
}

const imagesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/images',
  validateSearch: (raw: Record<string, unknown>): ImageSearch => ({ search: textOf(raw.search) }),
  component: lazyRouteComponent(() => import('./images/images-page.tsx'), 'ImagesPage'),
});

const imageRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/images/$imageId',
  component: lazyRouteComponent(() => import('./images/image-page.tsx'), 'ImagePage'),
});

export interface TaskSearch {
  readonly state?: string | undefined;
  readonly kind?: string | undefined;
  readonly search?: string | undefined;
  /** The Task whose drawer is open. */
  readonly task?: string | undefined;
}

const tasksRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/tasks',
  validateSearch: (raw: Record<string, unknown>): TaskSearch => ({
    state: textOf(raw.state),
    kind: textOf(raw.kind),
    search: textOf(raw.search),
    task: textOf(raw.task),
  }),
  component: lazyRouteComponent(() => import('./tasks/tasks-page.tsx'), 'TasksPage'),
});

const storesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/stores',
  component: lazyRouteComponent(() => import('./stores/stores-page.tsx'), 'StoresPage'),
});

const hostsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/hosts',
  component: lazyRouteComponent(() => import('./hosts/hosts-page.tsx'), 'HostsPage'),
});

const accessRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/access',
  component: lazyRouteComponent(() => import('./access/access-page.tsx'), 'AccessPage'),
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([home, imagesRoute, imageRoute, tasksRoute, hostsRoute, storesRoute, accessRoute]),
  history: createHashHistory(),
  defaultPreload: 'intent',
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
