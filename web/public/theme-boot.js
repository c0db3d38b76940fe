// Sets the theme before the first paint; a file of its own because the CSP allows no inline script.
(() => {
  let wanted = 'auto';
  try {
    wanted = localStorage.getItem('hawser-theme') ?? 'auto';
  } catch {
    // Storage is closed to this page: the system's theme then.
  }
  const dark = wanted === 'dark' || (wanted !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
