/* The next runs follow what is typed, and only the fields of the chosen kind are shown. Without it: the Preview button. */
(() => {
    "use strict";

    const WAIT_MILLISECONDS = 250;
    const FIELDS_OF = {
        cron: ["expression", "gap"],
        every: ["interval"],
        at: ["at"],
    };

    function showKind(form) {
        const chosen = form.querySelector('input[name="kind"]:checked');
        for (const [kind, fields] of Object.entries(FIELDS_OF)) {
            for (const field of fields) {
                const row = form.querySelector(`.form-row.field-${field}`);
                if (row) {
                    row.hidden = Boolean(chosen) && chosen.value !== kind;
                }
            }
        }
    }

    function question(form, panel) {
        const asked = new URLSearchParams();
        if (panel.dataset.schedule) {
            asked.set("schedule", panel.dataset.schedule);
        }
        const said = new FormData(form);
        for (const name of panel.dataset.fields.split(" ")) {
            for (const value of said.getAll(name)) {
                if (value) {
                    asked.append(name, value);
                }
            }
        }
        return `${panel.dataset.url}?${asked}`;
    }

    function follow(form, panel) {
        const runs = panel.querySelector(".taskyard-runs");
        let timer = null;
        let asking = null;

        async function ask() {
            asking?.abort();
            const mine = asking = new AbortController();
            try {
                const answer = await fetch(question(form, panel), { signal: mine.signal, redirect: "error" });
                if (!answer.ok) {
                    throw new Error(answer.statusText);
                }
                const html = await answer.text();
                if (mine === asking) {
                    runs.innerHTML = html;
                }
            } catch (error) {
                if (error.name !== "AbortError") {
                    runs.textContent = "The server gave no answer: press Preview.";
                }
            }
        }

        const names = new Set(panel.dataset.fields.split(" "));
        form.addEventListener("input", (event) => {
            if (names.has(event.target.name)) {
                clearTimeout(timer);
                timer = setTimeout(ask, WAIT_MILLISECONDS);
            }
        });
    }

    document.addEventListener("DOMContentLoaded", () => {
        const panel = document.querySelector(".taskyard-preview");
        const form = panel?.closest("form");
        if (!form || !form.querySelector('input[name="kind"]')) {
            return;
        }
        showKind(form);
        form.addEventListener("change", () => showKind(form));
        follow(form, panel);
    });
})();
