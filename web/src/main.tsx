import '@mantine/core/styles.css';
import '@mantine/notifications/styles.css';
import './app.css';
import { MantineProvider } from '@mantine/core';
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { isHawserError } from '../../src/core/errors.ts';
import { Gate } from './login/gate.tsx';
import { noticeFailure } from './login/login-state.ts';
import { cssVariables, theme, themeStorage } from './theme.ts';

const client = new QueryClient({
  queryCache: new QueryCache({ onError: noticeFailure }),
  mutationCache: new MutationCache({ onError: noticeFailure }),
  defaultOptions: {
    queries: {
      networkMode: 'always',
      staleTime: 2_000,
      retry: (count, error) => count < 2 && isHawserError(error) && error.retryable,
    },
    mutations: { networkMode: 'always' },
  },
});

const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no #root');
createRoot(root).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={cssVariables}
      colorSchemeManager={themeStorage}
      defaultColorScheme="auto"
    >
      <QueryClientProvider client={client}>
        <Gate />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
