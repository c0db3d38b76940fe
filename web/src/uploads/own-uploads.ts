const KEY = 'hawser-uploads';

/** Uploads that this very tab has begun or gone on with; known again after a reload, and to no other tab. */
export function ownUploads(): ReadonlySet<string> {
  return new Set((sessionStorage.getItem(KEY) ?? '').split(' ').filter(Boolean));
}

export function rememberUpload(id: string): void {
  sessionStorage.setItem(KEY, [...ownUploads(), id].slice(-200).join(' '));
}
