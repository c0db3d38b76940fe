import { notifications } from '@mantine/notifications';
import { toHawserError } from '../../../src/core/errors.ts';

/** Says why something did not work, with the next step, where no dialog is open to say it in. */
export function complain(error: Error): void {
  const { details, message } = toHawserError(error);
  const next = typeof details.next === 'string' ? ` ${details.next}` : '';
  notifications.show({ title: 'That did not work', message: `${message}${next}`, color: 'red', autoClose: 12_000 });
}
