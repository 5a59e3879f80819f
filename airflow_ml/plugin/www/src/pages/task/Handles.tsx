/** Records that a task took or made, each to unfold: its fields, and the first rows of its tables. */

import { Box, Button, HStack, Text } from "@chakra-ui/react";
import { useId, useState } from "react";

import { usePreview } from "../../api/queries";
import type { HandleView, TaskRef } from "../../api/types";
import { counted } from "../../format/number";
import { short } from "../../format/text";
import { JsonText, Preview } from "../../ui/preview";
import { Empty, Load } from "../../ui/state";
import { DigestText } from "../../ui/words";

interface Props {
  task: TaskRef;
  handles: readonly HandleView[];
  none: string;
}

export function Handles({ task, handles, none }: Props) {
  if (!handles.length) {
    return <Empty>{none}</Empty>;
  }
  return handles.map((handle, at) => <Handle key={`${handle.name}${handle.digest}${at}`} task={task} handle={handle} />);
}

function Handle({ task, handle }: { task: TaskRef; handle: HandleView }) {
  const [shown, show] = useState<string>("");
  const id = useId();
  const turn = (what: string) => show((now) => (now === what ? "" : what));
  const preview = handle.previews.find((one) => one.digest === shown);
  return (
    <Box py={2} borderTopWidth="1px" _first={{ borderTopWidth: 0, pt: 0 }} _last={{ pb: 0 }}>
      <HStack gap={3} fontSize="sm" wrap="wrap">
        <Text fontWeight="medium">{handle.record}</Text>
        <Text color="fg.muted" overflowWrap="anywhere">{handle.name}</Text>
        <DigestText digest={handle.digest} />
        <HStack gap={1} ms="auto" wrap="wrap">
          {handle.previews.map((one) => (
            <Button
              key={`${one.name}${one.digest}`} size="2xs" variant={shown === one.digest ? "subtle" : "outline"} fontWeight="normal"
              aria-expanded={shown === one.digest} aria-controls={id} onClick={() => turn(one.digest)}
            >
              {`${short(one.name || "table", 40)}${one.rows === null ? "" : `, ${counted(one.rows, "row")}`}`}
            </Button>
          ))}
          <Button
            size="2xs" variant={shown === "fields" ? "subtle" : "outline"} fontWeight="normal" aria-controls={id}
            aria-expanded={shown === "fields"} onClick={() => turn("fields")}
          >
            Fields
          </Button>
        </HStack>
      </HStack>
      <Box id={id} mt={shown ? 3 : 0}>
        {shown === "fields" &&
          (handle.value === null ? <Empty>It was too large to be kept here, or held a secret.</Empty> : <JsonText value={handle.value} />)}
        {preview && <Rows task={task} digest={preview.digest} label={`${handle.record} ${preview.name}`} />}
      </Box>
    </Box>
  );
}

function Rows({ task, digest, label }: { task: TaskRef; digest: string; label: string }) {
  const rows = usePreview(task, digest, true);
  return <Load query={rows}>{(table) => <Preview table={table} label={label} />}</Load>;
}
