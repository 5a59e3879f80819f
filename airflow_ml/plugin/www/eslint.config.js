import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist", "node_modules"] },
  js.configs.recommended,
  ...ts.configs.strictTypeChecked,
  { languageOptions: { parserOptions: { projectService: { allowDefaultProject: ["eslint.config.js"] } } } },
  {
    files: ["**/*.{ts,tsx}"],
    plugins: { "react-hooks": hooks },
    rules: {
      ...hooks.configs.recommended.rules,
      "max-lines": ["error", 300],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": "off",
      // All that comes from data is text: no way around React's escaping, and no address but through safeUrl.
      "no-restricted-syntax": [
        "error",
        {
          selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']",
          message: "Strings from data are text.",
        },
        {
          selector: "MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]",
          message: "Strings from data are text.",
        },
        {
          selector: "JSXAttribute[name.name='href']:not([value.expression.callee.name='safeUrl'])",
          message: "Addresses go through safeUrl.",
        },
        { selector: "CallExpression[callee.object.name='window'][callee.property.name='open']", message: "Use a link." },
      ],
    },
  },
  // The contract with the Python side in one piece; some of its names may grow on that side.
  { files: ["src/api/types.ts"], rules: { "max-lines": "off", "@typescript-eslint/no-redundant-type-constituents": "off" } },
  { files: ["eslint.config.js"], ...ts.configs.disableTypeChecked },
);
