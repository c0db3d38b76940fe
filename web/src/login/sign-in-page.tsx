import { Center, Group, Paper, Stack, Text, Title } from '@mantine/core';
import { Mark } from '../parts/rope.tsx';
import { ThemeSwitch } from '../shell/theme-switch.tsx';
import { SignInForm } from './sign-in-form.tsx';

export function SignInPage() {
  return (
    <Center mih="100vh" p="md" component="main">
      <Stack w="100%" maw={420} gap="lg">
        <Group justify="space-between">
          <Group gap="sm">
            <Mark size={40} />
            <Title order={1} size="h2">
              Hawser
            </Title>
          </Group>
          <ThemeSwitch />
        </Group>
        <Text c="dimmed">Moves disk images safely: they arrive whole, or they wait where they stopped.</Text>
        <Paper className="h-card" p="lg">
          <SignInForm />
        </Paper>
      </Stack>
    </Center>
  );
}
