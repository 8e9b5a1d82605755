// Bars move by themselves. When one that this page waits for has ended, there is more to show.
"use strict";
document.addEventListener("taskyard:progress", (event) => {
    if (event.detail.is_final && event.target.closest("[data-reloads]")) {
        // Not a reload: of a page that answered a form, that would send the form again.
        location.replace(location.href);
    }
});
