/** The sign: a rope with a turn in it. */
export function Mark({ size = 28 }: { readonly size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#066783" />
      <g fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round">
        <path d="M6 21c4 0 5-3 5-6s1-6 5-6 5 3 5 6-1 6-5 6" />
        <path d="M26 11c-4 0-5 3-5 6M21 21c1.500 1.500 3 2 5 2" opacity=".65" />
      </g>
    </svg>
  );
}

/** A boat made fast to a bollard: for pages that are empty yet. */
export function Moored() {
  return (
    <svg width="220" height="110" viewBox="0 0 220 110" aria-hidden="true" fill="none" strokeLinecap="round">
      <path d="M0 92h220" stroke="var(--h-line)" strokeWidth="3" />
      <path d="M8 100q10-6 20 0t20 0 20 0 20 0 20 0 20 0" stroke="var(--h-data)" strokeWidth="3" opacity=".6" />
      <path d="M14 68h84l-12 22H28z" fill="var(--h-data)" />
      <path d="M36 68V48h26l10 20" stroke="var(--h-data)" strokeWidth="4" fill="var(--h-surface)" />
      <path d="M48 48V30" stroke="var(--h-data)" strokeWidth="4" />
      <path d="M48 30h16l-5 5 5 5H48" fill="var(--h-zero)" />
      <path d="M94 70c24 26 44 14 70-2" stroke="var(--h-zero)" strokeWidth="4" />
      <path d="M150 92h70v14h-70z" fill="var(--h-missing)" />
      <path d="M168 92V70h16v22zM163 64h26v8h-26z" fill="var(--mantine-color-dimmed)" />
      <path d="M164 70q12 8 24 2" stroke="var(--h-zero)" strokeWidth="4" />
    </svg>
  );
}
