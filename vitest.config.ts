import { defineConfig } from 'vitest/config';

/** The everyday set is `fast`; `full` has what needs real components or minutes and runs with CI=true. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          globalSetup: ['test/global-setup.ts'],
          include: ['src/**/*.test.ts', 'web/**/*.test.ts', 'test/{conformance,wire,agents,tools}/**/*.test.ts'],
          exclude: ['**/*.full.test.ts', '**/node_modules/**'],
          // Much of it waits: for patience to end, for processes to start.
          maxWorkers: 4,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'full',
          globalSetup: ['test/global-setup.ts'],
          include: ['test/**/*.full.test.ts', 'src/**/*.full.test.ts', 'test/{crash,browser}/**/*.test.ts'],
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
