/** What a person may do to a rollout, each with a reason that is kept. */

import { Box, Button, CloseButton, Dialog, Field, HStack, NativeSelect, Portal, Text, Textarea } from "@chakra-ui/react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { post, segment } from "../api/client";
import { client } from "../api/queries";
import type { CanaryAction, CanaryActionDone, CanaryActionName, CanaryView } from "../api/types";
import { weight } from "../format/number";
import { sentence } from "../format/text";
import { Failed } from "./state";

const LEAST = 3;
const MOST = 500;
const ORDER: readonly CanaryActionName[] = ["hold", "resume", "approve", "promote", "roll_back"];

/** What an action does, said before it is done. */
function consequence(action: CanaryActionName, { brief, challengers }: CanaryView): string {
  const several = challengers.length > 1 && brief.challenger.includes(",");
  const who = `${several ? "Versions" : "Version"} ${brief.challenger}`;
  switch (action) {
    case "hold":
      return `The challenger stays at ${weight(brief.weight_percent)}. Looks go on and harm still rolls back, but no step follows until somebody resumes.`;
    case "resume":
      return "The plan goes on from where it was held.";
    case "approve":
      return `${who} ${several ? "have" : "has"} waited for this: the rollout goes on as its plan says, with your approval in its record.`;
    case "promote":
      return `${several ? "The chosen version" : who} gets all traffic at the next look, without waiting for more evidence${brief.champion ? `, and replaces version ${brief.champion}` : ""}. A look that shows harm rolls back instead.`;
    case "roll_back":
      return `${who} ${several ? "get" : "gets"} no more traffic${brief.champion ? `, version ${brief.champion} answers everything` : ""}. The rollout ends.`;
  }
}

export function Actions({ view }: { view: CanaryView }) {
  const [said, setSaid] = useState("");
  return (
    <HStack gap={2} wrap="wrap">
      {said && <Text role="status" fontSize="xs" color="green.fg" maxW="22rem">{said}</Text>}
      {ORDER.filter((action) => view.allowed.includes(action)).map((action) => (
        <Ask key={action} action={action} view={view} done={setSaid} />
      ))}
    </HStack>
  );
}

interface AskProps {
  action: CanaryActionName;
  view: CanaryView;
  done: (result: string) => void;
}

function Ask({ action, view, done }: AskProps) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const candidates = view.challengers.filter((one) => !one.stopped && (one.chosen || !view.challengers.some((other) => other.chosen)));
  const [arm, setArm] = useState(candidates[0]?.arm ?? "");
  const chooses = action === "promote" && candidates.length > 1;
  const dag = view.owner?.dag_id ?? "";
  const act = useMutation({
    mutationFn: () => {
      const body: CanaryAction = { action, reason: reason.trim(), epoch: view.epoch, ...(chooses && { arm }) };
      return post<CanaryActionDone>(`dags/${segment(dag)}/rollouts/${segment(view.model)}/actions`, body);
    },
    onSuccess: async (answer) => {
      setOpen(false);
      setReason("");
      done(answer.result);
      await client.invalidateQueries();
    },
  });
  const ready = reason.trim().length >= LEAST && reason.length <= MOST && !act.isPending;
  const heading = `${sentence(action)}: ${view.model}, rollout ${view.epoch}`;
  return (
    <Dialog.Root open={open} onOpenChange={(change) => { setOpen(change.open); act.reset(); }} size="md">
      <Dialog.Trigger asChild>
        <Button size="xs" variant="outline" colorPalette={action === "roll_back" ? "red" : "gray"}>{sentence(action)}</Button>
      </Dialog.Trigger>
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content>
            <Dialog.Header>
              <Dialog.Title fontSize="md" overflowWrap="anywhere">{heading}</Dialog.Title>
            </Dialog.Header>
            <Dialog.Body>
              <Text fontSize="sm" mb={4}>{consequence(action, view)}</Text>
              <form id={`act-${action}`} onSubmit={(event) => { event.preventDefault(); if (ready) { act.mutate(); } }}>
                {chooses && (
                  <Field.Root mb={4}>
                    <Field.Label fontSize="sm">Version to promote</Field.Label>
                    <NativeSelect.Root size="sm">
                      <NativeSelect.Field value={arm} onChange={(event) => setArm(event.currentTarget.value)}>
                        {candidates.map((one) => <option key={one.arm} value={one.arm}>{`version ${one.version}`}</option>)}
                      </NativeSelect.Field>
                      <NativeSelect.Indicator />
                    </NativeSelect.Root>
                  </Field.Root>
                )}
                <Field.Root required invalid={reason.length > MOST}>
                  <Field.Label fontSize="sm">Reason, kept with your name</Field.Label>
                  <Textarea
                    autoFocus rows={3} value={reason} maxLength={2 * MOST} placeholder="What you saw, or who agreed"
                    onChange={(event) => setReason(event.currentTarget.value)}
                  />
                  <Field.HelperText>{`${LEAST} to ${MOST} characters; ${reason.length} so far`}</Field.HelperText>
                </Field.Root>
              </form>
              {act.isError && <Box mt={3}><Failed error={act.error} /></Box>}
            </Dialog.Body>
            <Dialog.Footer>
              <Dialog.ActionTrigger asChild><Button size="sm" variant="outline">Leave it</Button></Dialog.ActionTrigger>
              <Button
                size="sm" type="submit" form={`act-${action}`} disabled={!ready} loading={act.isPending}
                colorPalette={action === "roll_back" ? "red" : "blue"}
              >
                {sentence(action)}
              </Button>
            </Dialog.Footer>
            <Dialog.CloseTrigger asChild><CloseButton size="sm" /></Dialog.CloseTrigger>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}
