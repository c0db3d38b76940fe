import { useQuery } from '@tanstack/react-query';
import { queries } from '../api/queries.ts';

/** Whether who is signed in may change Hosts and Stores. */
export function useAdmin(): boolean {
  return useQuery(queries.me()).data?.role === 'admin';
}
