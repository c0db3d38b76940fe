import { VERSION } from '../../roles/version.ts';
import { print } from '../terminal.ts';

export function version(): void {
  print(VERSION);
}
