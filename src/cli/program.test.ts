import { afterEach, expect, test, vi } from 'vitest';
import { exitCodes } from './exit-codes.ts';
import { buildProgram, runCli } from './program.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

test('a command that does not exist is wrong usage, and the nearest one is named', async () => {
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  expect(await runCli(['uplaod', 'x'])).toBe(exitCodes.usage);
  expect(said).toContain('no command "uplaod". Did you mean upload?');
});

test('every command says in its help what it does', () => {
  const all = [...buildProgram().commands];
  for (const command of all) all.push(...command.commands);
  expect(all.length).toBeGreaterThan(25);
  for (const command of all) expect(command.description(), command.name()).not.toBe('');
});
