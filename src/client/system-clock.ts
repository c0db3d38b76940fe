import type { Clock } from './ports.ts';

/** The real time and chance of the platform. */
export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  delay(milliseconds, signal) {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, milliseconds);
      const stop = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      signal.addEventListener('abort', stop, { once: true });
    });
  },
};
