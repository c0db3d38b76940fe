import { TextInput } from '@mantine/core';

interface NameFieldProps {
  readonly label: string;
  readonly name: string;
  readonly onName: (name: string) => void;
}

/** The name of an Image that is to be made; the server takes 255 characters. */
export function NameField({ label, name, onName }: NameFieldProps) {
  return (
    <TextInput
      label={label}
      value={name}
      onChange={(event) => onName(event.currentTarget.value)}
      maxLength={255}
      required
      withAsterisk={false}
    />
  );
}
