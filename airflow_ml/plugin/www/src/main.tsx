/**
 * The bundle's entry. Airflow looks for a component under the name of the app that it shows, then under AirflowPlugin;
 * a module is evaluated once per page load, so the second of our apps finds its component only by name.
 */

import { App } from "./App";

for (const name of ["ML", "ML run", "ML task"]) {
  Reflect.set(globalThis, name, App);
}

export default App;
