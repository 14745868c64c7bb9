/** Before something is done that cannot be undone: what it will do, in words. */

import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";

export function Confirm({ title, children, act, isOpen, isBusy, onClose, onAct }: {
  title: string; children: ReactNode; act: string; isOpen: boolean; isBusy?: boolean; onClose: () => void; onAct: () => void;
}) {
  return (
    <Modal opened={isOpen} onClose={onClose} title={<Text fw={650}>{title}</Text>} centered closeButtonProps={{ "aria-label": "Close" }}>
      <Stack>
        <Text size="sm" component="div">{children}</Text>
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose} data-autofocus>Leave it</Button>
          <Button color="red.8" onClick={onAct} loading={isBusy ?? false}>{act}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
