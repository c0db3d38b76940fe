import type { Page } from 'playwright-core';

/** Questions that are answered inside the page; as text, because this side knows no DOM. */

/** What a screen reader would call the focused element, roughly. */
export function focusedName(page: Page): Promise<string> {
  return page.evaluate<string>(
    `(document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '').trim()`,
  );
}

/** Presses Tab until the element of this name has the focus. */
export async function tabTo(page: Page, name: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    if ((await focusedName(page)) === name) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`"${name}" is not reached with Tab; the focus is on "${await focusedName(page)}"`);
}

/** Fades have ended and data has come: half-transparent text has no contrast of its own. */
export async function settled(page: Page): Promise<void> {
  await page.locator('[aria-label^="Loading"]').first().waitFor({ state: 'detached' });
  await page.evaluate(
    // What turns for ever, while something is waited for, has no end.
    `Promise.all(document.getAnimations()
      .filter((animation) => animation.effect?.getComputedTiming().endTime !== Infinity)
      .map((animation) => animation.finished.catch(() => undefined)))`,
  );
}

/** Pixels that the page is too wide. */
export function sidewaysScroll(page: Page): Promise<number> {
  return page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}
