import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import type { ImageCreate } from '../../../src/contract/api/image.ts';
import { calls } from '../api/calls.ts';
import { uniqueId } from '../parts/unique-id.ts';

/** Asks for an Image that the hosts fetch by themselves, and opens its page. Asked again, it is the same one. */
export function useCreate(onDone: () => void) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [key, setKey] = useState({ id: uniqueId(), body: '' });
  return useMutation({
    mutationFn: (wish: ImageCreate) => {
      const body = JSON.stringify(wish);
      const used = key.body === '' || key.body === body ? { ...key, body } : { id: uniqueId(), body };
      setKey(used);
      return calls.createImage(wish, used.id);
    },
    onSuccess: async (image) => {
      onDone();
      await navigate({ to: '/images/$imageId', params: { imageId: image.id } });
      await client.invalidateQueries({ refetchType: 'active' });
    },
  });
}
