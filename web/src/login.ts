// The form for those whom the server does not know yet: a user and a password, or a token.

import { api } from "./api";
import { must } from "./dom";

export function showLogin(done: () => void): void {
  const form = must("login-form") as HTMLFormElement;
  const error = must("login-error");
  const value = (name: string) =>
    (form.elements.namedItem(name) as HTMLInputElement | null)?.value ?? "";
  must("login").hidden = false;
  must("app").hidden = true;
  form.onsubmit = (event) => {
    event.preventDefault();
    const token = value("token").trim();
    const credentials =
      token !== "" ? { token } : { user: value("user").trim(), password: value("password") };
    error.textContent = "";
    form.toggleAttribute("aria-busy", true);
    api
      .login(credentials)
      .then(() => {
        form.reset();
        must("login").hidden = true;
        done();
      })
      .catch((reason: unknown) => {
        error.textContent = reason instanceof Error ? reason.message : String(reason);
      })
      .finally(() => form.removeAttribute("aria-busy"));
  };
  (form.elements.namedItem("user") as HTMLInputElement | null)?.focus();
}
