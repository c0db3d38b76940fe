import { Center, Container, Loader } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense } from 'react';
import { isHawserError } from '../../../src/core/errors.ts';
import { queries } from '../api/queries.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { SignInPage } from './sign-in-page.tsx';

const Pages = lazy(() => import('../pages.tsx').then((m) => ({ default: m.Pages })));

/** Who is signed in decides what is shown. A login lost later is asked for again on top of the page (SignInAgain). */
export function Gate() {
  const me = useQuery(queries.me());
  if (me.data !== undefined) {
    return (
      <Suspense fallback={<Waiting />}>
        <Pages />
      </Suspense>
    );
  }
  if (isHawserError(me.error, 'unauthenticated')) return <SignInPage />;
  if (me.error !== null) {
    return (
      <Container size="xs" pt={80} component="main">
        <ProblemNote error={me.error} onRetry={() => void me.refetch()} />
      </Container>
    );
  }
  return <Waiting />;
}

function Waiting() {
  return (
    <Center h="100vh">
      <Loader aria-label="Loading" />
    </Center>
  );
}
