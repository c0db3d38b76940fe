import { useMediaQuery } from '@mantine/hooks';

/** True where a table has no room. */
export function useNarrow(): boolean {
  return useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
}
