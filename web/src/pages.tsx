import { Notifications } from '@mantine/notifications';
import { RouterProvider } from '@tanstack/react-router';
import { router } from './router.tsx';

/** Everything behind the sign-in; loaded only then. */
export function Pages() {
  return (
    <>
      <Notifications position="top-center" role="status" aria-live="polite" />
      <RouterProvider router={router} />
    </>
  );
}
