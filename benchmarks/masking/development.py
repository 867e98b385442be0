"""The texts that measure: no name, template or format is shared with `tuning`.

`DEVELOPMENT` draws names that are on none of the masker's lists, so that only what stands around them
gives them away; `DEVELOPMENT_LISTED` draws names that are on its lists, as most names in English texts are.
"""

from dataclasses import replace

from benchmarks.masking.corpus import Sources

DEVELOPMENT = Sources(
    name="development",
    templates=[
        "CLINIC LETTER\nRe: {name}, date of birth {dob}, hospital number {mrn}\nI reviewed this 61-year-old lady with COPD.",
        "{name} was admitted on 4 March with pneumonia. Mrs {surname} received Ceftriaxone 2 g daily for 5 days.",
        "I spoke with {name} on the phone ({phone}) about the biopsy. She will come with her sister {given2}.",
        "Attending: {name}. Referring physician: Dr {name2}. Patient ID: {mrn}. Chief complaint: dizziness.",
        "Hi there! I am {name} and live at {address}. Is my asthma medicine safe with Ibuprofen?",
        "Thanks for the explanation of the carbon cycle!\nBest wishes,\n{name}\n{email}",
        "Can you book me an appointment? Name: {name}, birthday: {dob}, mobile: {phone}.",
        "As discussed with {given}'s mother, {name2}, the vaccination is postponed. Her number is {phone}.",
        "The caller, {name}, gave the case number {mrn} and asked about last winter's storm damage at {address}.",
        "Referral: {reversed} (born {dob}). Problem: recurrent syncope. GP: Dr. {initial}.",
        "My grandmother {name} is {age} years old and forgets to take her Amlodipine.",
        "{name}, {age}, lives alone at {address} and was found on the floor by a neighbour.",
        "Neuro consult for {name} ({dob}): left MCA infarct, NIHSS 7. Please fax to {phone}.",
        "I changed my e-mail from {email} to {email} and my phone to {phone}; please update account number {mrn}.",
        "Her NHS no is {nhs}, and her daughter {name} can be reached on {phone}.",
        "Social security number on the form: {ssn}. Date of birth: {dob}. Member ID: {mrn}.",
        "Paid with card number {card}; refund to {iban} please. Signed, {name}",
        "The request came from IP {ip} and opened {url} three times.",
        "This annotation was made by {name} from the tracing team; ask {given} about segment 864691135.",
        "Hello {given}, your explanation of spike sorting is wrong. Write me: {email}. {name2}",
        "hey its {lower}, my dob is {dob}. is it normal to feel dizzy on sertraline?",
        "patient {name} ({age}F) fell at home. Daughter: {name2}, {phone}.",
        "PROGRESS NOTE - {upper} - MRN: {mrn}\nS: slept well. O: afebrile. A/P: continue Vancomycin.",
        "Specimen from {name}, born on {dob}, accession number {mrn}: invasive ductal carcinoma, grade 2.",
        "We sent the letter to {name} at {address} last week, but it came back.",
        "Operation note. Surgeon: {name}. Assistant: {name2}. Patient: {name3}, record no {mrn}.",
        "The farmer {name} told us that the drought of 2012 was worse; his contact is {email}.",
        "Ms {surname} denies alcohol use. {given} works as a teacher and drinks two coffees a day.",
        "Transcript: nurse {name} called at 14:30, reported glucose of 212, callback {phone}.",
        "According to {name}, who was born in Leipzig on {dob}, the memory test was too long.",
        "Please add {name} to the study list. Participant number: {mrn}. Visit on 12 May 2022.",
        "Sincerely yours,\n\n{name}\n{address}\nPhone {phone}",
        "Husband {name} and son {given2} attended; the patient, {name3}, agreed to Rituximab.",
        "rater note: response B forgot that {name} is allergic to Penicillin, see chart number {mrn}",
    ],
    given=(
        "Tobias Nkechi Yevgenia Bartholomew Saoirse Anneliese Fergus Imogen Lachlan Oluwaseun Rukhsana Thierry Marisol"
        " Xiomara Dashiell Gwendolyn Cormac Femi Sunniva Zbigniew Leocadia Rosalind Horace Tunde Nirmala Ximena"
    ).split(),
    surnames=(
        "Achterberg Adeyemi Balakrishnan Cavanaugh Dlamini Eriksdottir Fairweather Goldsworthy Hathaway Iwasaki Jovanovic"
        " Kenyatta Lombardi McAllister Nakagawa Oyelaran Pemberton Quispe Ravenscroft Szymanski Thornbury Uwimana"
        " O'Flaherty Wojtowicz Yamaguchi Zielinski"
    ).split(),
    streets=[
        "Harbour View Road",
        "W. Lincoln Blvd",
        "Chestnut Court",
        "St. Mary's Crescent",
        "Elm Tree Close",
        "East 42nd Street",
        "Sycamore Terrace",
        "Orchard Way",
        "Martin Luther King Drive",
    ],
    towns=[
        ("Portland", "OR", "972##"),
        ("Nottingham", "Notts", "NG7 2RD"),
        ("Fresno", "CA", "937##"),
        ("Newcastle upon Tyne", "Tyne and Wear", "NE1 4ST"),
        ("Ann Arbor", "MI", "481##"),
        ("Toronto", "ON", "M5V 2T6"),
    ],
    hosts=["clinic.example.net", "post.example.co.uk", "research.example.edu"],
    birth_formats=[
        "{d}.{m}.{y}",
        "{d:02}-{b}-{y}",
        "{m}/{d}/{yy:02}",
        "{d}th of {M} {y}",
        "{b} {d}, {y}",
        "{y}/{m:02}/{d:02}",
    ],
    phone_formats=[
        "415.555.01##",
        "+44 7700 9006##",
        "(0)20 7946 0###",
        "1-312-555-01##",
        "+49 151 2345 67##",
        "212 555 01##",
        "0161 496 0###",
        "555-01##",
    ],
    record_formats=["H-######", "####-####", "@@ ######", "0#######", "#####/##"],
    address_formats=[
        "{house} {street}, Apt. {flat}, {town}, {state} {code}",
        "{house} {street}, {town} {code}",
        "{house}B {street}",
        "Unit {flat}, {house} {street}, {town}, {state}, {code}",
        "{house} {street}\n{town}, {state} {code}",
    ],
    plain=[
        "Between 1901 and 2018 the sea rose by 0.20 m. The Greenland Ice Sheet lost 3,902 Gt from 1992 to 2018, and the"
        " Antarctic Ice Sheet 2,720 Gt. East Antarctica showed small changes. See Fox-Kemper et al. (2021), chapter 9.",
        "The Clausius-Clapeyron relation implies about 7 percent more water vapour per degree. Svante Bay storms grew"
        " stronger. In Bangladesh, cyclone Sidr of 15 November 2007 reached the Sundarbans; Dhaka is 250 km inland.",
        "Does Lake Titicaca shrink because of El Nino? The response says that Bolivia and Peru lost 30 percent of their"
        " tropical glaciers since 1980. I would have liked a source, for example the World Glacier Monitoring Service.",
        "Solar power in Rajasthan, hydropower at Three Gorges, and wind in the North Sea: the answer compares capacity"
        " factors of 19, 45 and 50 percent. It should mention the Montreal Protocol of 1987 and the Kigali Amendment.",
        "A 58-year-old man with Barrett's oesophagus and Raynaud's phenomenon takes Esomeprazole 40 mg. Murphy's sign is"
        " negative, Babinski absent, Glasgow Coma Scale 15. CT on 02/11/2020 showed no Bosniak III lesion.",
        "For Guillain-Barre syndrome give IVIG 0.4 g/kg for 5 days. Sjogren's syndrome, Behcet's disease and Takayasu"
        " arteritis were excluded; Lyme serology and Epstein-Barr virus PCR were negative on day 3.",
        "Amoxicillin with Clavulanate 875/125 mg twice daily, Azithromycin 500 mg on day 1 and 250 mg on days 2 to 5."
        " Review in clinic 4B at 10:30. Sodium 138, Potassium 4.1, Creatinine 88, eGFR 71, Troponin 12 ng/L.",
        "The patient was born at term and has Down syndrome with an atrioventricular septal defect. Apgar scores were 8"
        " and 9. Surgery was done on 3 June 2019 without complications, and Furosemide was stopped in July.",
        "Starting dose of Adalimumab is 160 mg, then 80 mg. Compare Humira with Stelara in Crohn's disease. Contact your"
        " doctor when fever exceeds 38.5 for more than 3 days. Patient Health Questionnaire score was 11 of 27.",
        "Layer 5 pyramidal neurons project to the Pons. Martinotti cells target apical tufts, Chandelier cells the axon"
        " initial segment. In volume MICrONS, segment 864691135012345678 has 5,214 synapses near (1203, 884, 20112).",
        "The proofreader merged supervoxels 72057594037927936 and 72057594037927937. Missed split at [334, 1290, 77]."
        " Compare Cajal's drawings of the Retina with the Eyewire reconstructions of 2014; Brodmann area 17 is V1.",
        "Hodgkin and Huxley modelled the squid axon in 1952. The Nernst potential of potassium is about -90 mV. Use the"
        " Kolmogorov-Smirnov test or the Kruskal-Wallis test; p = 0.032, n = 41, 95 percent interval 0.12 to 0.47.",
        "Thanks, this helps! Could you explain why Mars is cold but Venus is hot? I read that Venus has 96.5 percent CO2"
        " and a pressure of 92 bar. Also, is Mount Pinatubo in 1991 a good example of cooling by aerosols?",
        "Please write shorter. The second paragraph repeats the first, and version 3.11.4 of Python is not relevant. I"
        " wanted a table with columns Year, Model, Score. Rated 4 of 5 because the maths was right in step 2.",
        "Response A cites the IPCC Sixth Assessment Report; Response B cites Nature Climate Change 12, 228-234. Both"
        " forget Urban Heat Islands. May and June 2019 broke records in Delhi, Karachi and Kuwait City.",
        "In April the Colorado River Compact states met in Las Vegas. Lake Mead stood at 1,040 feet. Hurricane Florence"
        " and Storm Desmond brought record rain to North Carolina and Cumbria. Grace satellites measured the loss.",
        "Good question. Will the Gulf Stream stop? Rose bushes flower 10 days earlier in Kew Gardens. Summer Olympics in"
        " Paris used less energy. The price of carbon in the European Union was 80 euros per tonne on 21 March 2023.",
        "Bell's palsy: Prednisolone 50 mg for 10 days. Dupuytren contracture, Paget disease of bone and Ewing sarcoma are"
        " unrelated. Foley catheter removed. Wells score 4.5, so D-dimer was not sent; Doppler of both legs is normal.",
    ],
)

DEVELOPMENT_LISTED = replace(
    DEVELOPMENT,
    name="development_listed",
    given=(
        "Robert Jennifer Mohammed Fatima Carlos Anjali Hiroshi Svetlana Michael Susan Emeka Katarzyna Pierre Lucia"
        " Charlotte Jack Mei Grace"
    ).split(),
    surnames=(
        "Johnson Hernandez Sharma Wang Mueller Khan Okafor Dubois Tanaka Novak Wright Campbell Rossi Jensen Ivanova"
        " Baker Young Murphy"
    ).split(),
)
