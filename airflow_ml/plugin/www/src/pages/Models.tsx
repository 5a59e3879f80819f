/** All models: what serves, what challenges. */

import { useModels } from "../api/queries";
import { counted } from "../format/number";
import { Page, Section } from "../ui/layout";
import { ModelTable } from "../ui/models";
import { Load } from "../ui/state";

export function Models() {
  const models = useModels();
  return (
    <Page title="Models" facts={models.data && counted(models.data.models.length, "model")}>
      <Load query={models}>
        {(value) => (
          <Section title="Champions and challengers">
            <ModelTable
              rows={value.models}
              none="There is no model yet."
              hint="A model stands here once register_model has made its first version."
            />
          </Section>
        )}
      </Load>
    </Page>
  );
}
